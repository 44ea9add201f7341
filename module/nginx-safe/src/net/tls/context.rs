//! What connections have in common.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::{self, NonNull};
use std::ffi::CString;
use std::fs::File;

use ngx::ffi::{
    ERR_clear_error, ERR_get_error, ERR_reason_error_string, NGX_OK, NGX_SSL_TLSv1_2,
    NGX_SSL_TLSv1_3, SSL_CTRL_MODE, SSL_CTX, SSL_CTX_ctrl, SSL_CTX_load_verify_locations,
    SSL_CTX_set_default_passwd_cb, SSL_CTX_set_default_passwd_cb_userdata,
    SSL_CTX_set_default_verify_paths, SSL_CTX_set_verify, SSL_CTX_use_PrivateKey_file,
    SSL_CTX_use_certificate_chain_file, SSL_FILETYPE_PEM, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER,
    SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_VERIFY_PEER, ngx_int_t, ngx_pcalloc, ngx_pool_cleanup_add,
    ngx_ssl_cleanup_ctx, ngx_ssl_create, ngx_ssl_t, ngx_uint_t,
};

use crate::{Conf, ConfResult};

/// Whom to trust, and who we are: nginx's own `ngx_ssl_t`, which lasts as long as the
/// configuration.
#[derive(Clone, Copy)]
pub struct TlsContext(NonNull<ngx_ssl_t>);

impl TlsContext {
    /// One that trusts everybody.
    pub fn new(conf: &Conf) -> ConfResult<Self> {
        // SAFETY: the pool is that of the configuration being read. ngx_ssl_create
        // expects a zeroed ngx_ssl_t with a log, and ngx_ssl_cleanup_ctx frees what it
        // made when the pool goes, which the ngx_ssl_t lies in.
        unsafe {
            let (pool, log) = ((*conf.0).pool, (*conf.0).log);
            let ssl = ngx_pcalloc(pool, size_of::<ngx_ssl_t>()).cast::<ngx_ssl_t>();
            let cleanup = ngx_pool_cleanup_add(pool, 0);
            let context = NonNull::new(ssl).map(Self).filter(|_| !cleanup.is_null());
            let context = context.ok_or("no memory")?;
            (*ssl).log = log;
            let protocols = NGX_SSL_TLSv1_2 | NGX_SSL_TLSv1_3;
            if ngx_ssl_create(ssl, protocols as ngx_uint_t, ptr::null_mut()) != NGX_OK as ngx_int_t
            {
                return Err("no memory".into());
            }
            (*cleanup).handler = Some(ngx_ssl_cleanup_ctx);
            (*cleanup).data = ssl.cast();
            // What could not be sent is sent again from a buffer that has grown, and
            // maybe moved, in the meantime.
            let mode = SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER;
            let ctx = context.ctx();
            SSL_CTX_ctrl(ctx, SSL_CTRL_MODE as c_int, mode.into(), ptr::null_mut());
            Ok(context)
        }
    }

    pub(crate) fn raw(self) -> *mut ngx_ssl_t {
        self.0.as_ptr()
    }

    fn ctx(self) -> *mut SSL_CTX {
        // SAFETY: see the type.
        unsafe { (*self.raw()).ctx }
    }

    /// From now on, trusts nobody who is not vouched for.
    pub fn verify(self) {
        // SAFETY: a live SSL_CTX. Without a callback a handshake fails with those who
        // are not trusted.
        unsafe { SSL_CTX_set_verify(self.ctx(), SSL_VERIFY_PEER as c_int, None) }
    }

    /// Trusts the authorities of a file.
    pub fn trust(self, conf: &Conf, path: &str) -> ConfResult {
        // SAFETY: a live SSL_CTX; the name is read during the call only.
        self.load(conf, path, |ctx, file| unsafe {
            SSL_CTX_load_verify_locations(ctx, file, ptr::null())
        })
    }

    /// Trusts the authorities that this machine trusts.
    pub fn trust_system(self) -> ConfResult {
        // SAFETY: a live SSL_CTX.
        outcome(unsafe { SSL_CTX_set_default_verify_paths(self.ctx()) })
            .map_err(|e| format!("the system's certificates: {e}"))
    }

    /// Who we are.
    pub fn certificate(self, conf: &Conf, path: &str) -> ConfResult {
        // SAFETY: as in `trust`.
        self.load(conf, path, |ctx, file| unsafe {
            SSL_CTX_use_certificate_chain_file(ctx, file)
        })
    }

    /// What proves it. The certificate comes before.
    pub fn key(self, conf: &Conf, path: &str) -> ConfResult {
        let mut is_asked = false;
        // SAFETY: as in `trust`; the callback is called, if at all, while the flag is
        // there, and OpenSSL forgets both.
        let loaded = self.load(conf, path, |ctx, file| unsafe {
            SSL_CTX_set_default_passwd_cb(ctx, Some(no_password));
            SSL_CTX_set_default_passwd_cb_userdata(ctx, (&raw mut is_asked).cast());
            let loaded = SSL_CTX_use_PrivateKey_file(ctx, file, SSL_FILETYPE_PEM as c_int);
            SSL_CTX_set_default_passwd_cb_userdata(ctx, ptr::null_mut());
            SSL_CTX_set_default_passwd_cb(ctx, None);
            loaded
        });
        if is_asked {
            return Err(format!("\"{}\": is encrypted", conf.full_path(path)?));
        }
        loaded
    }

    fn load(
        self,
        conf: &Conf,
        path: &str,
        load: impl FnOnce(*mut SSL_CTX, *const c_char) -> c_int,
    ) -> ConfResult {
        let full = conf.full_path(path)?;
        // OpenSSL has no words for what the system says.
        File::open(&full).map_err(|e| format!("\"{full}\": {e}"))?;
        let file = CString::new(full.as_str()).map_err(|_| "not a path")?;
        outcome(load(self.ctx(), file.as_ptr())).map_err(|e| format!("\"{full}\": {e}"))
    }
}

/// In place of OpenSSL's prompt, at which nginx would stand when it starts.
unsafe extern "C" fn no_password(_: *mut c_char, _: c_int, _: c_int, asked: *mut c_void) -> c_int {
    // SAFETY: the flag of `key`.
    unsafe { *asked.cast::<bool>() = true };
    -1
}

/// What has become of a call to OpenSSL: if it failed, the first thing it met. nginx
/// wants nothing left in the queue of errors, which may not be empty after success.
fn outcome(returned: c_int) -> ConfResult {
    // SAFETY: the reasons are static strings, or null for those that have none.
    let reason = unsafe {
        let reason = ERR_reason_error_string(ERR_get_error());
        ERR_clear_error();
        (!reason.is_null()).then(|| CStr::from_ptr(reason))
    };
    if returned == 1 {
        return Ok(());
    }
    let reason = reason.unwrap_or(c"cannot be read").to_string_lossy();
    Err(reason.into_owned())
}

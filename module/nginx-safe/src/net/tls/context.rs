//! The TLS settings that connections share.
//!
//! # Guarantees
//!
//! `Context` owns its `Parts` until Drop, and so the SSL_CTX that ngx_ssl_create has made in them.
//! OpenSSL counts the references to an SSL_CTX: each connection has one, and ngx_ssl_cleanup_ctx
//! releases nginx's. Only nginx's thread uses them, because a [`TlsContext`] cannot be sent to
//! another one (Thread in the crate's documentation).

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem;
use core::ptr::{self, NonNull};
use std::ffi::CString;
use std::fs::File;
use std::rc::Rc;

use ngx::ffi::{
    ERR_clear_error, ERR_get_error, ERR_reason_error_string, NGX_OK, NGX_SSL_TLSv1_2,
    NGX_SSL_TLSv1_3, SSL_CTRL_MODE, SSL_CTX, SSL_CTX_ctrl, SSL_CTX_load_verify_locations,
    SSL_CTX_set_default_passwd_cb, SSL_CTX_set_default_passwd_cb_userdata,
    SSL_CTX_set_default_verify_paths, SSL_CTX_set_verify, SSL_CTX_use_PrivateKey_file,
    SSL_CTX_use_certificate_chain_file, SSL_FILETYPE_PEM, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER,
    SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_VERIFY_PEER, ngx_int_t, ngx_log_t, ngx_ssl_cleanup_ctx,
    ngx_ssl_create, ngx_ssl_t, ngx_uint_t,
};

use crate::{Conf, ConfResult};

/// Trusted authorities, and the client's certificate and key. OpenSSL's context is freed together
/// with the last clone, possibly after the configuration that made it.
///
/// ```compile_fail,E0277
/// fn send(tls: nginx_safe::TlsContext) {
///     std::thread::spawn(move || drop(tls));
/// }
/// ```
#[derive(Clone)]
pub struct TlsContext(Rc<Context>);

/// A raw pointer, because OpenSSL's context may point back to `Parts`.
struct Context(NonNull<Parts>);

struct Parts {
    ssl: ngx_ssl_t,
    /// A log that discards all messages. It replaces the configuration's log, which does not live
    /// as long.
    silent: ngx_log_t,
}

impl Drop for Context {
    fn drop(&mut self) {
        let parts = self.0.as_ptr();
        // SAFETY: `TlsContext::new` made the parts, and this was the last reference.
        // ngx_ssl_cleanup_ctx releases the references of ngx_ssl_t to OpenSSL's objects. Nothing
        // else refers to the parts: each `TlsSession` holds a `TlsContext` (see `Context`).
        unsafe {
            if !(*parts).ssl.ctx.is_null() {
                ngx_ssl_cleanup_ctx((&raw mut (*parts).ssl).cast());
            }
            drop(Box::from_raw(parts));
        }
    }
}

impl TlsContext {
    /// Makes a context that accepts any certificate.
    pub fn new(conf: &Conf) -> ConfResult<Self> {
        // SAFETY: zeroed `Parts` are valid: ngx_ssl_create expects a zeroed ngx_ssl_t with a log,
        // and a zeroed ngx_log_t has a level that logs nothing (Zeroed).
        let parts = Box::leak(Box::new(unsafe { mem::zeroed::<Parts>() }));
        let context = Self(Rc::new(Context(NonNull::from(parts))));
        let ssl = context.raw();
        // SAFETY: the parts have just been made. The log of a `Conf` is live during this call (see
        // `Conf`); it is replaced before the call returns. ngx_ssl_create keeps no other pointer
        // than `ssl`.
        let made = unsafe {
            (*ssl).log = (*conf.0).log;
            let protocols = (NGX_SSL_TLSv1_2 | NGX_SSL_TLSv1_3) as ngx_uint_t;
            let made = ngx_ssl_create(ssl, protocols, ptr::null_mut());
            (*ssl).log = &raw mut (*context.0.0.as_ptr()).silent;
            made
        };
        if made != NGX_OK as ngx_int_t {
            return Err("no memory".into());
        }
        // Bytes that could not be sent are sent again from a buffer that may have grown and moved.
        let mode = SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER;
        let (ctx, command) = (context.ctx(), SSL_CTRL_MODE as c_int);
        // SAFETY: ngx_ssl_create has made the SSL_CTX, which exists until Drop (see `Context`).
        // This command has no pointer.
        unsafe { SSL_CTX_ctrl(ctx, command, mode.into(), ptr::null_mut()) };
        Ok(context)
    }

    pub(crate) fn raw(&self) -> *mut ngx_ssl_t {
        // SAFETY: the parts exist until Drop (see `Context`). No reference is made.
        unsafe { &raw mut (*self.0.0.as_ptr()).ssl }
    }

    fn ctx(&self) -> *mut SSL_CTX {
        // SAFETY: the parts exist until Drop, and only nginx's thread uses them (see `Context`).
        unsafe { (*self.raw()).ctx }
    }

    /// Makes handshakes fail if the peer's certificate is not signed by a trusted authority.
    pub fn verify(&self) {
        // SAFETY: the SSL_CTX exists until Drop (see `Context`). Without a callback, OpenSSL itself
        // makes the handshake fail.
        unsafe { SSL_CTX_set_verify(self.ctx(), SSL_VERIFY_PEER as c_int, None) }
    }

    /// Trusts the authorities in a PEM file.
    pub fn trust(&self, conf: &Conf, path: &str) -> ConfResult {
        // SAFETY: the SSL_CTX exists until Drop (see `Context`). OpenSSL reads the NUL-terminated
        // name during the call only.
        self.load(conf, path, |ctx, file| unsafe {
            SSL_CTX_load_verify_locations(ctx, file, ptr::null())
        })
    }

    /// Trusts the authorities that OpenSSL trusts by default on this machine.
    pub fn trust_system(&self) -> ConfResult {
        // SAFETY: the SSL_CTX exists until Drop (see `Context`).
        outcome(unsafe { SSL_CTX_set_default_verify_paths(self.ctx()) })
            .map_err(|e| format!("the system's certificates: {e}"))
    }

    /// Sets the client's certificate chain, from a PEM file.
    pub fn certificate(&self, conf: &Conf, path: &str) -> ConfResult {
        // SAFETY: the SSL_CTX exists until Drop (see `Context`). OpenSSL reads the NUL-terminated
        // name during the call only.
        self.load(conf, path, |ctx, file| unsafe {
            SSL_CTX_use_certificate_chain_file(ctx, file)
        })
    }

    /// Sets the private key of the certificate, which must have been set before, from a PEM file
    /// that is not encrypted.
    pub fn key(&self, conf: &Conf, path: &str) -> ConfResult {
        let mut is_asked = false;
        // SAFETY: the SSL_CTX exists until Drop (see `Context`). OpenSSL reads the NUL-terminated
        // name during the call only, and calls the password callback in the same call only. The
        // callback and its flag are removed again before the flag goes out of scope.
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
        &self,
        conf: &Conf,
        path: &str,
        load: impl FnOnce(*mut SSL_CTX, *const c_char) -> c_int,
    ) -> ConfResult {
        let full = conf.full_path(path)?;
        // OpenSSL's message does not contain the system's error.
        File::open(&full).map_err(|e| format!("\"{full}\": {e}"))?;
        let file = CString::new(full.as_str()).map_err(|_| "not a path")?;
        outcome(load(self.ctx(), file.as_ptr())).map_err(|e| format!("\"{full}\": {e}"))
    }
}

/// A password callback that fails. OpenSSL's default would prompt, which blocks the start of nginx.
unsafe extern "C" fn no_password(_: *mut c_char, _: c_int, _: c_int, asked: *mut c_void) -> c_int {
    // SAFETY: OpenSSL passes the userdata that `key` has set by
    // SSL_CTX_set_default_passwd_cb_userdata: a pointer to a flag that is live until `key` has
    // removed the callback.
    unsafe { *asked.cast::<bool>() = true };
    -1
}

/// The result of a call to OpenSSL; on failure, its first error. Empties OpenSSL's error queue,
/// which may contain errors even after success: nginx expects it to be empty.
fn outcome(returned: c_int) -> ConfResult {
    // SAFETY: ERR_get_error and ERR_clear_error use the error queue of this thread.
    // ERR_reason_error_string returns null or a static string.
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

//! What is of one connection.

use core::ffi::{CStr, c_int, c_long};
use core::ptr::{self, NonNull};
use core::{mem, slice};
use std::io;

use ngx::ffi::{
    ERR_clear_error, NGX_AGAIN, NGX_LOG_INFO, NGX_OK, NGX_SSL_CLIENT, SSL_CTRL_SET_TLSEXT_HOSTNAME,
    SSL_VERIFY_PEER, SSL_ctrl, SSL_get_verify_mode, SSL_get_verify_result, SSL_get0_param,
    TLSEXT_NAMETYPE_host_name, X509_V_OK, X509_VERIFY_PARAM_set1_host,
    X509_VERIFY_PARAM_set1_ip_asc, X509_verify_cert_error_string, ngx_connection_t,
    ngx_create_pool, ngx_destroy_pool, ngx_int_t, ngx_log_t, ngx_pool_t, ngx_ssl_create_connection,
    ngx_ssl_handshake, ngx_ssl_shutdown, ngx_uint_t, u_char,
};

use super::{Tls, TlsName};
use crate::guard;
use crate::net::peer::event_entry;

/// As large as nginx's own for a connection to an upstream.
const POOL_SIZE: usize = 128;

/// The TLS side of a connection. It outlives the connection, whose log and pool are its.
pub(crate) struct TlsSession {
    tls: Tls,
    heard: NonNull<Heard>,
    pool: *mut ngx_pool_t,
}

/// The log of a connection: what nginx said last, for our own line about it.
struct Heard {
    log: ngx_log_t,
    last: Option<String>,
}

impl TlsSession {
    pub fn new(tls: &Tls) -> Self {
        // SAFETY: all-zero bits are a valid ngx_log_t.
        let log = unsafe { mem::zeroed() };
        let heard = NonNull::from(Box::leak(Box::new(Heard { log, last: None })));
        // SAFETY: just made, and ours until Drop.
        unsafe {
            let log = &raw mut (*heard.as_ptr()).log;
            (*log).log_level = NGX_LOG_INFO as ngx_uint_t;
            (*log).writer = Some(hear);
            (*log).wdata = heard.as_ptr().cast();
        }
        Self {
            tls: tls.clone(),
            heard,
            pool: ptr::null_mut(),
        }
    }

    pub fn has_begun(&self) -> bool {
        !self.pool.is_null()
    }

    /// Whether the handshake is done; the first call begins it. Until it has ended, the
    /// connection's events are nginx's.
    ///
    /// # Safety
    /// `c` must be the open, connected connection of the [`Peer`](crate::Peer) that
    /// this belongs to.
    pub unsafe fn handshake(&mut self, c: *mut ngx_connection_t) -> io::Result<bool> {
        // SAFETY: the caller vouches for the connection. `begin` gives it its `ssl`,
        // which it has until `end`.
        unsafe {
            if (*c).ssl.is_null() {
                self.begin(c)?;
                if ngx_ssl_handshake(c) == NGX_AGAIN as ngx_int_t {
                    (*(*c).ssl).handler = Some(handshake_ended);
                }
            }
            let ssl = (*c).ssl;
            if (*ssl).handler.is_some() {
                return Ok(false);
            }
            let connection = (*ssl).connection;
            if SSL_get_verify_mode(connection) & SSL_VERIFY_PEER as c_int != 0 {
                let verdict = SSL_get_verify_result(connection);
                if verdict != c_long::from(X509_V_OK) {
                    let reason = CStr::from_ptr(X509_verify_cert_error_string(verdict));
                    let reason = reason.to_string_lossy();
                    return Err(failure(format!("certificate verify error: {reason}")));
                }
            }
            if (*ssl).handshaked() == 1 {
                return Ok(true);
            }
            Err(self.error().unwrap_or_else(|| failure("no handshake")))
        }
    }

    unsafe fn begin(&mut self, c: *mut ngx_connection_t) -> io::Result<()> {
        // SAFETY: as for `handshake`. Log and pool last longer than the connection, and
        // the context longer than every worker's connections. OpenSSL copies the names.
        unsafe {
            let log = &raw mut (*self.heard.as_ptr()).log;
            self.pool = ngx_create_pool(POOL_SIZE, log);
            if self.pool.is_null() {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            (*c).pool = self.pool;
            (*c).log = log;
            (*(*c).read).log = log;
            (*(*c).write).log = log;
            let context = self.tls.context.raw();
            if ngx_ssl_create_connection(context, c, NGX_SSL_CLIENT as ngx_uint_t)
                != NGX_OK as ngx_int_t
            {
                return Err(self.error().unwrap_or(io::ErrorKind::OutOfMemory.into()));
            }
            let connection = (*(*c).ssl).connection;
            let wanted = SSL_get0_param(connection);
            let is_set = match &self.tls.name {
                TlsName::Address(text) => X509_VERIFY_PARAM_set1_ip_asc(wanted, text.as_ptr()) == 1,
                TlsName::Host(text) => {
                    let (command, kind) = (SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name);
                    let name = text.as_ptr().cast_mut();
                    SSL_ctrl(connection, command as c_int, kind.into(), name.cast()) == 1
                        && X509_VERIFY_PARAM_set1_host(wanted, name, text.count_bytes()) == 1
                }
            };
            if is_set {
                return Ok(());
            }
            ERR_clear_error();
            Err(failure("the name cannot be asked for"))
        }
    }

    /// Leaves the connection without a word: nothing that could block, or come later.
    ///
    /// # Safety
    /// As for `handshake`.
    pub unsafe fn end(&mut self, c: *mut ngx_connection_t) {
        // SAFETY: as for `handshake`. A shutdown that neither sends nor waits is done at
        // once, in the middle of a handshake too, and frees what OpenSSL has of it.
        unsafe {
            if !(*c).ssl.is_null() {
                (*(*c).ssl).set_no_wait_shutdown(1);
                (*(*c).ssl).set_no_send_shutdown(1);
                ngx_ssl_shutdown(c);
            }
        }
    }

    /// What nginx has said of the connection last.
    pub fn error(&self) -> Option<io::Error> {
        // SAFETY: ours until Drop; nobody writes to it now.
        unsafe { (*self.heard.as_ptr()).last.clone() }.map(failure)
    }
}

fn failure(reason: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("TLS: {reason}"))
}

impl Drop for TlsSession {
    fn drop(&mut self) {
        // SAFETY: the connection is closed; nothing refers to either any more.
        unsafe {
            if !self.pool.is_null() {
                ngx_destroy_pool(self.pool);
            }
            drop(Box::from_raw(self.heard.as_ptr()));
        }
    }
}

unsafe extern "C" fn handshake_ended(c: *mut ngx_connection_t) {
    // SAFETY: nginx calls this once for a connection of a Peer, in place of which its
    // own handlers have stood; it touches the connection no more afterwards.
    unsafe {
        (*(*c).ssl).handler = None;
        (*(*c).read).handler = Some(event_entry);
        (*(*c).write).handler = Some(event_entry);
        event_entry((*c).write);
    }
}

unsafe extern "C" fn hear(log: *mut ngx_log_t, _: ngx_uint_t, text: *mut u_char, length: usize) {
    guard((), || {
        // SAFETY: `wdata` is the box that the log lies in, which nobody else uses while
        // nginx writes; the text is there for this call.
        let (last, text) = unsafe {
            let heard = (*log).wdata.cast::<Heard>();
            (&mut (*heard).last, slice::from_raw_parts(text, length))
        };
        *last = Some(message(&String::from_utf8_lossy(text)).to_owned());
    });
}

/// What a line of the log, `time [level] pid#tid: message`, says.
fn message(line: &str) -> &str {
    let stamped = line
        .split_once('#')
        .and_then(|(_, rest)| rest.split_once(": "));
    stamped.map_or(line, |(_, message)| message).trim_end()
}

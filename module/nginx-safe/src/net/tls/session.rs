//! The TLS state of one connection.
//!
//! # Guarantees
//!
//! [`TlsSession`] owns the log and the pool of a connection, and a reference to its context.
//! [`Peer`](crate::Peer) closes the connection before it drops the session. nginx keeps pointers to
//! them in the connection, its events and its `ssl` only, which ngx_ssl_shutdown and
//! ngx_close_connection release.

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

/// The size of nginx's own pool for a connection to an upstream.
const POOL_SIZE: usize = 128;

/// The TLS side of a connection. It is dropped after the connection is closed, because it owns the
/// connection's log and pool.
pub(crate) struct TlsSession {
    tls: Tls,
    capture: NonNull<LogCapture>,
    pool: *mut ngx_pool_t,
}

/// The log of a connection. It keeps nginx's last message, which becomes part of our own.
struct LogCapture {
    log: ngx_log_t,
    last: Option<String>,
}

impl TlsSession {
    pub fn new(tls: &Tls) -> Self {
        // SAFETY: a zeroed ngx_log_t is valid (Zeroed).
        let log = unsafe { mem::zeroed() };
        let capture = NonNull::from(Box::leak(Box::new(LogCapture { log, last: None })));
        // SAFETY: the box has just been made, and exists until Drop (see `TlsSession`).
        unsafe {
            let log = &raw mut (*capture.as_ptr()).log;
            (*log).log_level = NGX_LOG_INFO as ngx_uint_t;
            (*log).writer = Some(write_log);
            (*log).wdata = capture.as_ptr().cast();
        }
        Self {
            tls: tls.clone(),
            capture,
            pool: ptr::null_mut(),
        }
    }

    pub fn has_begun(&self) -> bool {
        !self.pool.is_null()
    }

    /// Whether the handshake has succeeded. The first call begins it. Until the handshake ends,
    /// nginx handles the connection's events.
    ///
    /// # Safety
    /// `c` must be the connection of the [`Peer`](crate::Peer) that owns this session, open and
    /// connected.
    pub unsafe fn handshake(&mut self, c: *mut ngx_connection_t) -> io::Result<bool> {
        // SAFETY: the caller guarantees the connection. `begin` makes its `ssl` by
        // ngx_ssl_create_connection, which exists until `end`, as does the OpenSSL connection in
        // it. nginx calls `handler` only at the end of the handshake.
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

    /// # Safety
    /// As for `handshake`.
    unsafe fn begin(&mut self, c: *mut ngx_connection_t) -> io::Result<()> {
        // SAFETY: the caller guarantees that the connection is open. Log, pool and context outlive
        // it (see `TlsSession`). OpenSSL copies the names.
        unsafe {
            let log = &raw mut (*self.capture.as_ptr()).log;
            if self.pool.is_null() {
                self.pool = ngx_create_pool(POOL_SIZE, log);
            }
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

    /// Ends TLS without sending a close alert, and without waiting for one.
    ///
    /// # Safety
    /// As for `handshake`.
    pub unsafe fn end(&mut self, c: *mut ngx_connection_t) {
        // SAFETY: the caller guarantees that the connection is open. With both flags set, or during
        // a handshake, ngx_ssl_shutdown neither sends nor waits, and frees OpenSSL's objects before
        // it returns.
        unsafe {
            if !(*c).ssl.is_null() {
                (*(*c).ssl).set_no_wait_shutdown(1);
                (*(*c).ssl).set_no_send_shutdown(1);
                ngx_ssl_shutdown(c);
            }
        }
    }

    /// The last error that nginx logged for this connection.
    pub fn error(&self) -> Option<io::Error> {
        // SAFETY: the box exists until Drop (see `TlsSession`). Only `write_log` writes to it, which
        // nginx calls when it logs, so during calls to nginx.
        unsafe { (*self.capture.as_ptr()).last.clone() }.map(failure)
    }
}

fn failure(reason: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("TLS: {reason}"))
}

impl Drop for TlsSession {
    fn drop(&mut self) {
        // SAFETY: `Peer` has closed the connection, to which nginx's pointers to the pool and the
        // log belonged (see `TlsSession`). If the process is ending, it leaks this value instead.
        unsafe {
            if !self.pool.is_null() {
                ngx_destroy_pool(self.pool);
            }
            drop(Box::from_raw(self.capture.as_ptr()));
        }
    }
}

unsafe extern "C" fn handshake_ended(c: *mut ngx_connection_t) {
    // SAFETY: ngx_ssl_handshake_handler calls this once, at the end of the handshake of an open
    // `Peer`, whose `ssl` and events exist until ngx_close_connection. It does not use the
    // connection afterwards, so that the callback may close it.
    unsafe {
        (*(*c).ssl).handler = None;
        (*(*c).read).handler = Some(event_entry);
        (*(*c).write).handler = Some(event_entry);
        event_entry((*c).write);
    }
}

unsafe extern "C" fn write_log(
    log: *mut ngx_log_t,
    _: ngx_uint_t,
    text: *mut u_char,
    length: usize,
) {
    guard((), || {
        // SAFETY: nginx calls `writer` with the log, whose `wdata` `new` has set to the box that
        // the log is part of, and with a text of `length` bytes that is valid during the call
        // (ngx_log_error_core). There is no other reference to `last` while nginx writes to the
        // log.
        let (last, text) = unsafe {
            let capture = (*log).wdata.cast::<LogCapture>();
            (&mut (*capture).last, slice::from_raw_parts(text, length))
        };
        *last = Some(message(&String::from_utf8_lossy(text)).to_owned());
    });
}

/// The message in a line of the log, which has the form `time [level] pid#tid: message`.
fn message(line: &str) -> &str {
    let stamped = line
        .split_once('#')
        .and_then(|(_, rest)| rest.split_once(": "));
    stamped.map_or(line, |(_, message)| message).trim_end()
}

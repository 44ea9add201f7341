//! Requests, as borrowed from nginx.
//!
//! # Guarantees
//!
//! A `Request` is live for its lifetime. It is made where nginx has called this crate with a live
//! request (Call in the crate's documentation), or where [`Token`] has found a request whose pool
//! has not been destroyed (Pool). The lifetime ends with the call of safe code that gets the value.
//!
//! Fields of the request are read and written while nginx waits for that call, so that nginx does
//! not change them at the same time (Thread).

use core::marker::PhantomData;

use ngx::ffi::{
    NGX_AGAIN, NGX_DONE, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_SPECIAL_RESPONSE, NGX_OK,
    ngx_handle_read_event, ngx_http_block_reading, ngx_http_core_run_phases,
    ngx_http_finalize_request, ngx_http_post_request, ngx_http_read_client_request_body,
    ngx_http_request_empty_handler, ngx_http_request_t, ngx_http_test_reading, ngx_int_t,
    ngx_post_event, ngx_posted_events,
};

use crate::config::module::{LocationConf, MainConf};
use crate::config::{registered, tagged};
use crate::guard;
use crate::request::context::{self, Token};
use crate::text::bytes_of;

/// A request, borrowed for one call from nginx.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub(crate) raw: *mut ngx_http_request_t,
    lifetime: PhantomData<&'a ngx_http_request_t>,
}

impl<'a> Request<'a> {
    /// # Safety
    /// `raw` must be a live request, and stay live for `'a`.
    pub(crate) unsafe fn borrow(raw: *mut ngx_http_request_t) -> Self {
        Self {
            raw,
            lifetime: PhantomData,
        }
    }

    /// The fields of the request. Do not keep the reference during a call into nginx.
    pub(crate) fn get(&self) -> &'a ngx_http_request_t {
        // SAFETY: a `Request` is live for `'a` (see `Request`), and only nginx's thread uses it
        // (Thread). Callers read one field at a time, and do not keep the reference during calls
        // into nginx, which may write to the request.
        unsafe { &*self.raw }
    }

    /// The module's context of type `T`, unless an internal redirect has cleared it.
    pub fn context<T: 'static>(&self) -> Option<&'a T> {
        context::current(*self)
    }

    /// The module's context of type `T`, also after an internal redirect has cleared it.
    pub fn recalled<T: 'static>(&self) -> Option<&'a T> {
        self.context().or_else(|| context::recall(*self))
    }

    /// Restores the module's context of type `T` after an internal redirect has cleared it, and
    /// returns it.
    pub fn adopt<T: 'static>(&self) -> Option<&'a T> {
        context::adopt(*self)
    }

    /// Makes a context that lives as long as the request. `None` if memory runs out.
    pub fn attach<T: 'static>(&self, make: impl FnOnce(Token) -> T) -> Option<&'a T> {
        context::attach(*self, make)
    }

    /// The module's configuration of the location that handles the request.
    pub fn location<T: LocationConf>(&self) -> Option<&'a T> {
        // SAFETY: a `Request` is live. nginx keeps in its loc_conf what create_loc_conf of this
        // module returned, made by `tagged::make`. The request belongs to the cycle that this
        // process runs, and configurations are only read by now (Request, Configuration).
        unsafe {
            let place = *(*self.raw).loc_conf.add(registered::position());
            Some(tagged::find::<T>(place)?.as_ref())
        }
    }

    /// The module's configuration of the `http` block.
    pub fn main_conf<T: MainConf>(&self) -> Option<&'a T> {
        // SAFETY: a `Request` is live. nginx keeps in its main_conf what create_main_conf of this
        // module returned, made by `tagged::make`. The request belongs to the cycle that this
        // process runs, and configurations are only read by now (Request, Configuration).
        unsafe {
            let place = *(*self.raw).main_conf.add(registered::position());
            Some(tagged::find::<T>(place)?.as_ref())
        }
    }

    /// The method as the client sent it.
    pub fn method(&self) -> &'a [u8] {
        // SAFETY: ngx_http_parse_request_line points it into the header, which nginx keeps as long
        // as the request (Request).
        unsafe { bytes_of(&self.get().method_name) }
    }

    /// The path as the client sent it, without arguments.
    pub fn path(&self) -> &'a [u8] {
        // SAFETY: as for the method (Request).
        let whole = unsafe { bytes_of(&self.get().unparsed_uri) };
        whole.split(|&byte| byte == b'?').next().unwrap_or(whole)
    }

    /// The arguments, without the question mark.
    pub fn query(&self) -> &'a [u8] {
        // SAFETY: as for the method, or in the pool of the request after a rewrite (Request).
        unsafe { bytes_of(&self.get().args) }
    }

    /// Milliseconds since nginx began to read the request.
    pub fn age_ms(&self) -> u64 {
        let r = self.get();
        let began = (r.start_sec as u64) * 1_000 + r.start_msec as u64;
        (crate::clocks().wall_us / 1_000).saturating_sub(began)
    }

    /// Whether this is a subrequest, or a request after an internal redirect.
    pub fn is_internal(&self) -> bool {
        self.get().internal() != 0
    }

    /// The main request; the request itself if it is not a subrequest.
    pub fn main_request(&self) -> Self {
        // SAFETY: a main request outlives its subrequests, each of which holds a reference to it
        // (References).
        unsafe { Self::borrow(self.get().main) }
    }

    /// Whether it is a subrequest.
    pub fn is_subrequest(&self) -> bool {
        self.raw != self.get().main
    }

    /// Makes a request that waits ([`Flow::Wait`](crate::Flow::Wait)) run again, from nginx's event
    /// loop. Has no effect on a request that nginx has finalized. Do not call it for a request that
    /// does neither: nginx would no longer read from its client.
    pub fn go_on(&self) {
        // SAFETY: a `Request` is live, and so is its connection (Request). ngx_close_connection
        // removes the posted event. The connection's event runs the write handler of the request in
        // `data`; any other request has to be posted, and runs after that
        // (ngx_http_request_handler). A finalized subrequest is skipped: its write handler may use
        // an upstream that has been freed.
        unsafe {
            if is_done(self.raw) {
                return;
            }
            (*self.raw).read_event_handler = Some(ngx_http_block_reading);
            let connection = (*self.raw).connection;
            if (*connection).data != self.raw.cast() {
                ngx_http_post_request(self.raw, core::ptr::null_mut());
            }
            ngx_post_event((*connection).write, &raw mut ngx_posted_events);
        }
    }
}

/// Whether nginx has finalized a request. Before `post_action` nginx sets `done` on a main request
/// too, but then runs the phases again with a write handler. A main request that is over has the
/// empty handler.
///
/// # Safety
/// `r` must be live.
pub(crate) unsafe fn is_done(r: *mut ngx_http_request_t) -> bool {
    const EMPTY: unsafe extern "C" fn(*mut ngx_http_request_t) = ngx_http_request_empty_handler;
    // SAFETY: the caller guarantees that the request is live: its pool has not been destroyed
    // (Request).
    let (done, main, handler) = unsafe { ((*r).done() != 0, (*r).main, (*r).write_event_handler) };
    let is_empty = handler.is_none_or(|handler| core::ptr::fn_addr_eq(handler, EMPTY));
    done && (r != main || is_empty)
}

/// Stops the phases of a request until [`Request::go_on`]. If the client closes its connection in
/// the meantime, nginx ends the request.
///
/// # Safety
/// `r` must be live and in a phase handler, which returns the result of this function.
pub(crate) unsafe fn park(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: the caller guarantees that the request is live, and so is its connection (Request).
    // ngx_http_limit_req_handler does the same before a delay. ngx_close_connection removes the
    // posted event.
    unsafe {
        let read = (*(*r).connection).read;
        if ngx_handle_read_event(read, 0) != NGX_OK as ngx_int_t {
            return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
        }
        (*r).read_event_handler = Some(ngx_http_test_reading);
        (*r).write_event_handler = Some(ngx_http_core_run_phases);
        // If the client closed its connection while the body was read, the event was handled by a
        // handler that ignored it.
        if (*read).ready() != 0 {
            ngx_post_event(read, &raw mut ngx_posted_events);
        }
    }
    NGX_AGAIN as ngx_int_t
}

/// Reads the whole request body, then runs the phases again. This can happen during the call, and
/// can end the request.
///
/// # Safety
/// `r` must be live and in a phase handler, which returns the result of this function.
pub(crate) unsafe fn read_body(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: the caller guarantees that the request is live. ngx_http_read_client_request_body
    // takes a reference, which finalizing with NGX_DONE releases (References).
    // ngx_http_mirror_handler does the same. The request is not used afterwards, and nginx does not
    // use it after NGX_AGAIN.
    unsafe {
        let rc = ngx_http_read_client_request_body(r, Some(body_entry));
        if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t {
            return rc;
        }
        ngx_http_finalize_request(r, NGX_DONE as ngx_int_t);
    }
    NGX_AGAIN as ngx_int_t
}

unsafe extern "C" fn body_entry(r: *mut ngx_http_request_t) {
    guard((), || {
        // SAFETY: nginx calls this with the live request whose body it has read (Call). The request
        // is not used after ngx_http_core_run_phases, which may free it.
        unsafe {
            (*r).write_event_handler = Some(ngx_http_core_run_phases);
            ngx_http_core_run_phases(r);
        }
    });
}

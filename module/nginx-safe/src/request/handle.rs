use core::marker::PhantomData;

use ngx::ffi::{
    NGX_AGAIN, NGX_DONE, NGX_HTTP_SPECIAL_RESPONSE, NGX_OK, ngx_handle_read_event,
    ngx_http_block_reading, ngx_http_core_run_phases, ngx_http_finalize_request,
    ngx_http_post_request, ngx_http_read_client_request_body, ngx_http_request_t,
    ngx_http_test_reading, ngx_int_t, ngx_post_event, ngx_posted_events,
};

use crate::config::module::{LocationConf, MainConf};
use crate::config::{registered, tagged};
use crate::guard;
use crate::request::context::{self, Token};
use crate::request::phase::Flow;
use crate::text::bytes_of;

/// A request, for the length of one call from nginx.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub(crate) raw: *mut ngx_http_request_t,
    lifetime: PhantomData<&'a ngx_http_request_t>,
}

impl<'a> Request<'a> {
    /// # Safety
    /// `raw` must be a live request, and stay so for `'a`.
    pub(crate) unsafe fn borrow(raw: *mut ngx_http_request_t) -> Self {
        Self {
            raw,
            lifetime: PhantomData,
        }
    }

    /// Fields that no one else changes during a call.
    pub(crate) fn get(&self) -> &'a ngx_http_request_t {
        // SAFETY: see `borrow`. nginx is single-threaded; the reference is used
        // for reading a field at a time and not kept across calls into nginx.
        unsafe { &*self.raw }
    }

    /// The module's context of this type, if this pass through the phases has one.
    pub fn context<T: 'static>(&self) -> Option<&'a T> {
        context::current(self.raw)
    }

    /// The module's context, also when an internal redirect has hidden it.
    pub fn recalled<T: 'static>(&self) -> Option<&'a T> {
        self.context().or_else(|| context::recall(self.raw))
    }

    /// Makes the context from before an internal redirect that of this pass.
    pub fn adopt<T: 'static>(&self) -> Option<&'a T> {
        context::adopt(self.raw)
    }

    /// Makes a context, for as long as the request lives.
    pub fn attach<T: 'static>(&self, make: impl FnOnce(Token) -> T) -> Option<&'a T> {
        context::attach(self.raw, make)
    }

    /// The module's configuration of the location that serves the request.
    pub fn location<T: LocationConf>(&self) -> Option<&'a T> {
        // SAFETY: loc_conf has a place for each HTTP module; ours is what our
        // create_loc_conf made, and lives as long as the cycle.
        unsafe {
            let place = *(*self.raw).loc_conf.add(registered::position());
            Some(tagged::find::<T>(place)?.as_ref())
        }
    }

    /// The module's configuration of the `http` block.
    pub fn main_conf<T: MainConf>(&self) -> Option<&'a T> {
        // SAFETY: as for `location`.
        unsafe {
            let place = *(*self.raw).main_conf.add(registered::position());
            Some(tagged::find::<T>(place)?.as_ref())
        }
    }

    /// The method, as it was sent.
    pub fn method(&self) -> &'a [u8] {
        bytes_of(&self.get().method_name)
    }

    /// The path as the client sent it, without arguments.
    pub fn path(&self) -> &'a [u8] {
        let whole = bytes_of(&self.get().unparsed_uri);
        whole.split(|&byte| byte == b'?').next().unwrap_or(whole)
    }

    /// Its arguments: what follows the question mark.
    pub fn query(&self) -> &'a [u8] {
        bytes_of(&self.get().args)
    }

    /// How long ago its first byte came, in milliseconds.
    pub fn age_ms(&self) -> u64 {
        let r = self.get();
        let began = (r.start_sec as u64) * 1_000 + r.start_msec as u64;
        (crate::clocks().wall_us / 1_000).saturating_sub(began)
    }

    /// Whether it came here by an internal redirect, or is a subrequest.
    pub fn is_internal(&self) -> bool {
        self.get().internal() != 0
    }

    /// The request that it is a subrequest of, or itself.
    pub fn main_request(&self) -> Self {
        // SAFETY: a main request outlives its subrequests.
        unsafe { Self::borrow(self.get().main) }
    }

    /// Whether it is a subrequest.
    pub fn is_subrequest(&self) -> bool {
        self.raw != self.get().main
    }

    /// Has the phases stand still until [`Request::go_on`]; meanwhile a client
    /// that leaves ends the request at once.
    pub fn park(&self) -> Flow {
        // SAFETY: live request and connection; as limit_req does before a delay.
        unsafe {
            let read = (*(*self.raw).connection).read;
            if ngx_handle_read_event(read, 0) != NGX_OK as ngx_int_t {
                return Flow::Answer(500);
            }
            (*self.raw).read_event_handler = Some(ngx_http_test_reading);
            (*self.raw).write_event_handler = Some(ngx_http_core_run_phases);
            // The client may have left while the body was read: that event has
            // been spent on a handler that did not look.
            if (*read).ready() != 0 {
                ngx_post_event(read, &raw mut ngx_posted_events);
            }
        }
        Flow::Pause
    }

    /// Lets a parked request run again, from nginx's event loop.
    pub fn go_on(&self) {
        // SAFETY: a posted event of a connection that closes is taken back by
        // nginx. The write handler of a main request is run by its connection's
        // event; any other request has to be posted to be run after it.
        unsafe {
            (*self.raw).read_event_handler = Some(ngx_http_block_reading);
            let connection = (*self.raw).connection;
            if (*connection).data != self.raw.cast() {
                ngx_http_post_request(self.raw, core::ptr::null_mut());
            }
            ngx_post_event((*connection).write, &raw mut ngx_posted_events);
        }
    }
}

/// Reads the whole body, then runs the phases again: perhaps at once, and to the end of
/// the request.
///
/// # Safety
/// `r` must be live and in the call of a phase's handler, which returns what this does.
pub(crate) unsafe fn read_body(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: the way of the mirror module: the read holds a reference of its own, which
    // finalize(NGX_DONE) gives back.
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
        // SAFETY: nginx calls the handler with the request whose body it has read.
        unsafe {
            (*r).write_event_handler = Some(ngx_http_core_run_phases);
            ngx_http_core_run_phases(r);
        }
    });
}

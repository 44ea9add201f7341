//! Reads a response to its end after the client has closed its connection, where the module wants
//! it.
//!
//! nginx ends a request when it notices that the client has closed its connection. Where the module
//! wants the rest of the response, nginx continues to read the upstream, with its own timeouts and
//! parsers, and the body filter receives the data. The client's connection stays marked as failed,
//! so that nginx ends the request when the upstream has finished.

use core::ptr;

use ngx::ffi::{
    NGX_DONE, NGX_HTTP_CLIENT_CLOSED_REQUEST, ngx_buf_t, ngx_chain_t, ngx_del_timer,
    ngx_http_block_reading, ngx_http_finalize_request, ngx_http_request_empty_handler,
    ngx_http_request_t, ngx_http_upstream_t, ngx_int_t, ngx_module_t, ngx_output_chain_ctx_t,
    ngx_post_event, ngx_posted_events,
};

use crate::filter::chain::Filter;
use crate::guard;
use crate::request::context::{self, RequestState};
use crate::request::handle::Request;
use crate::upstream::attempt::ngx_http_copy_filter_module;
use crate::upstream::wrap::Wrapped;

/// Calls [`Filter::client_left`] before nginx ends a request because the client has closed its
/// connection.
///
/// # Safety
/// `r` must be live, and the call be in the `create_request` of its upstream.
pub(crate) unsafe fn watch<M: Wrapped>(r: *mut ngx_http_request_t, state: &RequestState) {
    // SAFETY: the caller guarantees that the request is live. ngx_http_upstream_init_request has
    // just set both handlers, unless nginx is to ignore a closed connection, and keeps them until
    // it sends the response or finalizes the upstream. The read handler alone is enough to notice a
    // closed connection.
    unsafe {
        state.read_handler.set((*r).read_event_handler);
        (*r).read_event_handler = Some(read_entry::<M>);
        (*r).write_event_handler = Some(ngx_http_request_empty_handler);
    }
}

/// The read handler: the client has sent something, or closed its connection.
unsafe extern "C" fn read_entry<M: Wrapped>(r: *mut ngx_http_request_t) {
    guard((), || {
        // SAFETY: nginx calls the handler with a live request (Call).
        let request = unsafe { Request::borrow(r) };
        let state = context::state(request);
        let Some((theirs, state)) = state.and_then(|h| Some((h.read_handler.get()?, h))) else {
            return;
        };
        // SAFETY: the request is live (Call). `theirs` is nginx's handler, which checks the
        // client's connection. If that is closed, it finalizes the upstream, or only marks the
        // connection as failed if the response is cacheable. It also finalizes the upstream if it
        // cannot remove an event. The reference taken here keeps the request, and with it the
        // upstream in its pool, until it is either given back or released with NGX_DONE
        // (References).
        unsafe {
            let upstream = (*r).upstream;
            let asked = upstream.as_ref().is_some_and(|u| {
                u.request_body_sent() != 0 && !u.peer.connection.is_null() && !is_kept(u)
            });
            if !asked {
                return theirs(r);
            }
            let main = (*r).main;
            (*main).set_count((*main).count() + 1);
            (*upstream).set_cacheable(1);
            theirs(r);
            (*upstream).set_cacheable(0);
            if (*upstream).cleanup.is_null() {
                return ngx_http_finalize_request(r, NGX_DONE as ngx_int_t);
            }
            (*main).set_count((*main).count() - 1);
            let connection = (*r).connection;
            if (*connection).error() == 0 {
                return;
            }
            if !M::Filter::client_left(request) {
                return theirs(r);
            }
            state.read_handler.set(None);
            (*r).read_event_handler = Some(ngx_http_block_reading);
            release_held(r);
            // Writing to the client continues, and fails at once.
            ngx_post_event((*connection).write, &raw mut ngx_posted_events);
        }
    });
}

/// Whether nginx itself needs the response to its end.
fn is_kept(upstream: &ngx_http_upstream_t) -> bool {
    upstream.cacheable() != 0 || upstream.store() != 0
}

impl Request<'_> {
    /// Whether the client has closed its connection, and the rest of the response may still be
    /// read.
    pub(crate) fn may_be_drained(&self) -> bool {
        // SAFETY: a `Request` is live, and `upstream` is null or in its pool (Upstream).
        let upstream = unsafe { self.get().upstream.as_ref() };
        // After nginx has finalized the upstream, its own error for the client is used.
        let runs = |u: &ngx_http_upstream_t| !u.peer.connection.is_null() && !is_kept(u);
        self.client_is_gone() && upstream.is_some_and(runs)
    }

    /// Drops a chain for a client that has closed its connection.
    ///
    /// # Safety
    /// `chain` must be what nginx passed to the body filter of this request: a chain or null.
    pub(crate) unsafe fn discard(&self, chain: *mut ngx_chain_t) {
        // SAFETY: a `Request` is live (see `Request`). The caller guarantees that nginx passed the
        // chain to the body filter (Filters), so it ends with null, and each link has a buffer
        // (Lists). The client's connection has failed.
        unsafe {
            count_as_sent(chain, ptr::null());
            release_held(self.raw);
        }
    }

    /// Drops the header of a response for a client that has closed its connection.
    pub(crate) fn discard_header(&self) {
        // SAFETY: a `Request` is live (see `Request`), and its header about to be sent. nginx uses
        // the same status when a client closes its connection.
        unsafe {
            (*self.raw).set_header_sent(1);
            (*self.raw).headers_out.status = NGX_HTTP_CLIENT_CLOSED_REQUEST as usize;
        }
    }
}

/// Returns buffers to the upstream that wait to be sent to a client that has closed its connection.
///
/// # Safety
/// `r` must be live, the client's connection have failed, and nothing more of its response be sent.
unsafe fn release_held(r: *mut ngx_http_request_t) {
    // SAFETY: the caller guarantees that the request is live. Its `ctx` has an entry of the copy
    // filter, which is null or made by that filter itself; `upstream`, its pipe and its chains are
    // null or in the pool of the request (Request, Upstream). Each reader of the response (the
    // upstream, its pipe, and the copy filter) has a list of the buffers that it waits for. Later
    // filters that still refer to these buffers are not called again. The pipe also waits for what
    // the copy filter has not passed on yet.
    unsafe {
        #[cfg(ngx_feature = "http_v2")]
        if (*r).stream.as_ref().is_some_and(|stream| stream.queued > 0) {
            // Announced HTTP/2 frames must be sent completely. nginx calls the filters again
            // afterwards.
            return;
        }
        let copy: *const ngx_module_t = &raw const ngx_http_copy_filter_module;
        let copy = *(*r).ctx.add((*copy).ctx_index);
        let mut rest: *const ngx_buf_t = ptr::null();
        if let Some(copy) = copy.cast::<ngx_output_chain_ctx_t>().as_ref() {
            count_as_sent(copy.busy, ptr::null());
            rest = copy.in_.as_ref().map_or(rest, |link| link.buf);
        }
        if let Some(upstream) = (*r).upstream.as_ref() {
            count_as_sent(upstream.busy_bufs, rest);
            if let Some(pipe) = upstream.pipe.as_ref() {
                count_as_sent(pipe.busy, rest);
            }
        }
        let write = (*(*r).connection).write;
        (*write).set_ready(1);
        (*write).set_delayed(0);
        if (*write).timer_set() != 0 {
            ngx_del_timer(write);
        }
    }
}

/// Marks the buffers of a chain as sent, up to but not including `rest`.
///
/// # Safety
/// A chain that ends with null, and whose links each have a buffer.
pub(crate) unsafe fn count_as_sent(mut link: *mut ngx_chain_t, rest: *const ngx_buf_t) {
    // SAFETY: the caller guarantees a chain that ends with null, and whose links each have a buffer
    // (Lists).
    unsafe {
        while let Some(part) = link.as_mut().filter(|part| !ptr::eq(part.buf, rest)) {
            let buffer = &mut *part.buf;
            buffer.pos = buffer.last;
            buffer.file_pos = buffer.file_last;
            link = part.next;
        }
    }
}

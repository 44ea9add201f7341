//! Clients that leave in mid-answer, whose answers are read on for their owner.
//!
//! nginx ends a request when it sees that its client is gone. Where the owner wants
//! the rest of the answer, nginx's own reading of the upstream goes on, with its
//! timeouts and parsers, and our body filter takes what comes. The client's connection
//! stays marked as failed: so nginx ends the request when the upstream is done.

use core::ptr;

use ngx::ffi::{
    NGX_HTTP_CLIENT_CLOSED_REQUEST, ngx_buf_t, ngx_chain_t, ngx_del_timer, ngx_http_block_reading,
    ngx_http_request_empty_handler, ngx_http_request_t, ngx_http_upstream_t, ngx_module_t,
    ngx_output_chain_ctx_t, ngx_post_event, ngx_posted_events,
};

use crate::filter::chain::Filter;
use crate::guard;
use crate::request::context::{self, State};
use crate::request::handle::Request;
use crate::upstream::attempt::ngx_http_copy_filter_module;
use crate::upstream::wrap::Wrapped;

/// Has the owner asked first when the client leaves.
///
/// # Safety
/// To be called from the `create_request` of a live request's upstream.
pub(crate) unsafe fn watch<M: Wrapped>(r: *mut ngx_http_request_t, state: &State) {
    // SAFETY: nginx has just set both handlers, for as long as the upstream has not
    // answered, or until it is done. Reading alone tells of a client that leaves.
    unsafe {
        state.read_handler.set((*r).read_event_handler);
        (*r).read_event_handler = Some(read_entry::<M>);
        (*r).write_event_handler = Some(ngx_http_request_empty_handler);
    }
}

/// Something has come from the client, or its end.
unsafe extern "C" fn read_entry<M: Wrapped>(r: *mut ngx_http_request_t) {
    guard((), || {
        let state = context::state(r);
        let Some((theirs, state)) = state.and_then(|h| Some((h.read_handler.get()?, h))) else {
            return;
        };
        // SAFETY: live request; `theirs` is nginx's handler, which looks whether the client
        // is gone. It ends the request then, but only notes it of an answer that it may
        // cache. A request that it ends for another reason lives until its posted end.
        unsafe {
            let upstream = (*r).upstream;
            let asked = upstream.as_ref().is_some_and(|u| {
                u.request_body_sent() != 0 && !u.peer.connection.is_null() && !is_kept(u)
            });
            if !asked {
                return theirs(r);
            }
            (*upstream).set_cacheable(1);
            theirs(r);
            (*upstream).set_cacheable(0);
            let connection = (*r).connection;
            if (*connection).error() == 0 {
                return;
            }
            if !M::Filter::client_left(Request::borrow(r)) {
                return theirs(r);
            }
            state.read_handler.set(None);
            (*r).read_event_handler = Some(ngx_http_block_reading);
            let_held_go(r);
            // What waited for the client goes on.
            ngx_post_event((*connection).write, &raw mut ngx_posted_events);
        }
    });
}

/// Whether nginx reads the answer to its end for itself.
fn is_kept(upstream: &ngx_http_upstream_t) -> bool {
    upstream.cacheable() != 0 || upstream.store() != 0
}

impl Request<'_> {
    /// Whether an answer whose client is gone may be read on.
    pub(crate) fn may_be_drained(&self) -> bool {
        // SAFETY: null or a live upstream, as long as the request.
        let upstream = unsafe { self.get().upstream.as_ref() };
        // Once nginx is done with the upstream, what it says of the client is right.
        let runs = |u: &ngx_http_upstream_t| !u.peer.connection.is_null() && !is_kept(u);
        self.client_is_gone() && upstream.is_some_and(runs)
    }

    /// Takes what was to be sent to a client that is gone.
    pub(crate) fn discard(&self, chain: *mut ngx_chain_t) {
        // SAFETY: a chain that nginx has passed to our body filter, and a live request.
        unsafe {
            count_as_sent(chain, ptr::null());
            let_held_go(self.raw);
        }
    }

    /// Takes the header of an answer whose client was gone before it.
    pub(crate) fn discard_header(&self) {
        // SAFETY: live request whose header is about to be sent. The status is nginx's
        // for such a client.
        unsafe {
            (*self.raw).set_header_sent(1);
            (*self.raw).headers_out.status = NGX_HTTP_CLIENT_CLOSED_REQUEST as usize;
        }
    }
}

/// Gives the upstream its buffers back that wait to be sent to a client that is gone.
///
/// # Safety
/// `r` must be live, its client gone, and nothing of its answer be sent any more.
unsafe fn let_held_go(r: *mut ngx_http_request_t) {
    // SAFETY: whoever reads an answer (the upstream, its pipe, the copy filter, which
    // nginx gives a context for that) has a list of what it waits for; filters below ours
    // that still refer to it are not called again. What the copy filter has yet to pass on,
    // the pipe waits for as well.
    unsafe {
        #[cfg(ngx_feature = "http_v2")]
        if (*r).stream.as_ref().is_some_and(|stream| stream.queued > 0) {
            // The frames that are under way must be sent as they have been announced; nginx
            // calls again when they are.
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

/// Counts buffers as sent, until there is `rest`.
///
/// # Safety
/// A chain that ends with null, whose links have buffers each.
pub(crate) unsafe fn count_as_sent(mut link: *mut ngx_chain_t, rest: *const ngx_buf_t) {
    // SAFETY: the caller's.
    unsafe {
        while let Some(part) = link.as_mut().filter(|part| !ptr::eq(part.buf, rest)) {
            let buffer = &mut *part.buf;
            buffer.pos = buffer.last;
            buffer.file_pos = buffer.file_last;
            link = part.next;
        }
    }
}

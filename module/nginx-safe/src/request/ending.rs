//! Ends requests outside of their phases.

use core::cell::RefCell;
use std::collections::VecDeque;

use ngx::ffi::{
    NGX_ERROR, NGX_HTTP_LAST, ngx_http_finalize_request, ngx_http_output_filter,
    ngx_http_request_t, ngx_http_run_posted_requests, ngx_http_send_special, ngx_int_t,
};

use crate::guard;
use crate::net::timer::Timer;
use crate::request::context::Token;
use crate::request::handle::{Request, is_done};

/// How to end a request. Its upstream, if there is one, is finalized first.
#[derive(Clone, Copy)]
pub enum Ending {
    /// With a response of this status. Use it if the header has not been sent.
    Answer(u16),
    /// With these last bytes of a stream whose header has been sent.
    Data(&'static [u8]),
    /// By closing the connection: the response cannot be completed.
    BreakOff,
}

type Decide = Box<dyn FnOnce(Request<'_>) -> Option<Ending>>;

#[derive(Default)]
struct Due {
    waiting: VecDeque<(Token, Decide)>,
    turn: Option<Timer>,
}

thread_local! {
    static DUE: RefCell<Due> = RefCell::default();
}

impl Token {
    /// Calls `decide` later in this turn of the event loop, unless the request has been freed by
    /// then. The request ends as `decide` returns; `None` does not end it.
    ///
    /// This is deferred, because the caller may be inside a call that borrows the same request.
    pub fn conclude(self, decide: impl FnOnce(Request<'_>) -> Option<Ending> + 'static) {
        DUE.with_borrow_mut(|due| {
            due.waiting.push_back((self, Box::new(decide)));
            due.turn
                .get_or_insert_with(|| Timer::new(true, |_| conclude_all(), 0))
                .soon();
        });
    }
}

/// The timer's callback: runs directly in the event loop, so no other call borrows a request.
fn conclude_all() {
    DUE.take().waiting.into_iter().for_each(|(token, decide)| {
        guard((), || {
            let ending = token.with(decide).flatten();
            if let Some((r, ending)) = token.find().zip(ending) {
                // SAFETY: `find` has just found the request. The borrow of `decide` has ended, and
                // nginx calls posted events from the event loop only, so that no other callback is
                // running (Event loop).
                unsafe { end(r.as_ptr(), ending) }
            }
        });
    });
}

/// # Safety
/// `r` must be live. It may be freed by this call.
unsafe fn end(r: *mut ngx_http_request_t, ending: Ending) {
    // SAFETY: the caller guarantees that the request is live. A request that nginx has already
    // finalized is skipped: to finalize it twice would release the reference of another user
    // (References). `cut_upstream` does not free the request. The record of the connection stays
    // allocated until ngx_http_run_posted_requests returns, which checks `destroyed` first: nginx's
    // own event handlers call it in the same way after they have finalized a request.
    unsafe {
        if is_done(r) {
            return;
        }
        let connection = (*r).connection;
        Request::borrow(r).cut_upstream();
        let rc = match ending {
            Ending::Answer(status) => status as ngx_int_t,
            Ending::Data(data) if (*r).header_sent() != 0 => send_last(r, data),
            Ending::Data(_) | Ending::BreakOff => NGX_ERROR as ngx_int_t,
        };
        ngx_http_finalize_request(r, rc);
        ngx_http_run_posted_requests(connection);
    }
}

/// # Safety
/// `r` must be live, and its header sent.
unsafe fn send_last(r: *mut ngx_http_request_t, words: &[u8]) -> ngx_int_t {
    const FAILED: ngx_int_t = NGX_ERROR as ngx_int_t;
    // SAFETY: the caller guarantees that the request is live and its header sent. The chain is in
    // the pool of the request (Pool). ngx_http_output_filter and ngx_http_send_special do not
    // finalize the request. Ending with an error would lose data that is still buffered; after a
    // last buffer, nginx sends everything and then closes the connection.
    unsafe {
        (*r).set_keepalive(0);
        let chain = Request::borrow(r).chain_of(words, false);
        if chain.is_null() || ngx_http_output_filter(r, chain) == FAILED {
            return FAILED;
        }
        ngx_http_send_special(r, NGX_HTTP_LAST as usize)
    }
}

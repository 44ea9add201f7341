//! Requests that are ended outside of their phases.

use core::cell::RefCell;
use std::collections::VecDeque;

use ngx::ffi::{
    NGX_ERROR, NGX_HTTP_LAST, ngx_http_finalize_request, ngx_http_output_filter,
    ngx_http_request_t, ngx_http_run_posted_requests, ngx_http_send_special, ngx_int_t,
};

use crate::guard;
use crate::net::timer::Timer;
use crate::request::context::Token;
use crate::request::handle::Request;

/// How to end a request. Its upstream, if there is one, is finalized first.
#[derive(Clone, Copy)]
pub enum Ending {
    /// With a response of this status. Use it if the header has not been sent.
    Answer(u16),
    /// With these last bytes of a stream whose header has been sent.
    Words(&'static [u8]),
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
    /// Has `decide` called later in this turn of the event loop, if the request is still
    /// there; it says how the request ends, if it does.
    ///
    /// Not at once: the caller may be in the midst of a call with that very request.
    pub fn conclude(self, decide: impl FnOnce(Request<'_>) -> Option<Ending> + 'static) {
        DUE.with_borrow_mut(|due| {
            due.waiting.push_back((self, Box::new(decide)));
            due.turn
                .get_or_insert_with(|| Timer::new(true, |_| conclude_all(), 0))
                .soon();
        });
    }
}

/// The event loop's call: nobody has a request now.
fn conclude_all() {
    DUE.take().waiting.into_iter().for_each(|(token, decide)| {
        guard((), || {
            let ending = token.with(decide).flatten();
            if let Some((r, ending)) = token.find().zip(ending) {
                // SAFETY: `find` has just found it alive; what `decide` was lent ended
                // with its call, and nobody else is in a call with a request.
                unsafe { end(r.as_ptr(), ending) }
            }
        });
    });
}

/// # Safety
/// `r` must be live; it may be gone afterwards.
unsafe fn end(r: *mut ngx_http_request_t, ending: Ending) {
    // SAFETY: live request, which `cut_upstream` keeps. Its connection is not freed before
    // ngx_http_run_posted_requests returns, which nginx calls after every event of the
    // connection.
    unsafe {
        let connection = (*r).connection;
        Request::borrow(r).cut_upstream();
        let rc = match ending {
            Ending::Answer(status) => status as ngx_int_t,
            Ending::Words(words) => send_last(r, words),
            Ending::BreakOff => NGX_ERROR as ngx_int_t,
        };
        ngx_http_finalize_request(r, rc);
        ngx_http_run_posted_requests(connection);
    }
}

/// # Safety
/// `r` must be live, and its header sent.
unsafe fn send_last(r: *mut ngx_http_request_t, words: &[u8]) -> ngx_int_t {
    const FAILED: ngx_int_t = NGX_ERROR as ngx_int_t;
    // SAFETY: the caller's. Ending by an error would lose what is still in the buffers; a
    // last buffer is sent on as the client takes it, and the connection is closed after.
    unsafe {
        (*r).set_keepalive(0);
        let chain = Request::borrow(r).chain_of(words, false);
        if chain.is_null() || ngx_http_output_filter(r, chain) == FAILED {
            return FAILED;
        }
        ngx_http_send_special(r, NGX_HTTP_LAST as usize)
    }
}

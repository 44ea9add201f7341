//! Attempts: one sending of a request upstream, judged when its answer begins, and
//! where need be made again before the client has seen anything of it.

use core::cell::Cell;

use ngx::ffi::{
    NGX_AGAIN, NGX_ERROR, NGX_HTTP_HEAD, NGX_HTTP_UPSTREAM_INVALID_HEADER, NGX_OK,
    ngx_http_core_run_phases, ngx_http_request_t, ngx_http_upstream_t, ngx_int_t, ngx_module_t,
};

use crate::config::registered;
use crate::guard;
use crate::request::context::{self, State};
use crate::request::handle::Request;
use crate::request::headers::HeadersIn;
use crate::request::phase;
use crate::text::bytes_of;
use crate::upstream::wrap::Wrapped;

unsafe extern "C" {
    /// nginx declares it in no header.
    pub(crate) static ngx_http_copy_filter_module: ngx_module_t;
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptDecision {
    /// Its answer goes to the client.
    Keep,
    /// More of the answer's body is needed to tell.
    Undecided,
    /// It is over; the request comes back to PRECONTENT.
    Over,
}

/// The hooks of an upstream that stood there before ours, and where an attempt is.
#[derive(Default)]
pub(crate) struct Hooks {
    process_header: Cell<Handler>,
    reinit_request: Cell<Handler>,
    /// The header has been read, and the body is awaited.
    undecided: Cell<bool>,
    /// The answer is the client's.
    kept: Cell<bool>,
    /// nginx has given the attempt up; `keepalive` as it was before.
    given_up: Cell<Option<u32>>,
    /// The answer has broken off; what the client is still to be told.
    last_words: Cell<Option<&'static [u8]>>,
}

/// What it means that nginx is done with an upstream that has not answered, or not wholly.
pub enum End {
    /// The end of an attempt, which the client is not to see: say [`crate::Piece::Hold`].
    Attempt,
    /// The answer has broken off: these are the last words to the client.
    Broken(&'static [u8]),
}

impl Hooks {
    /// Puts our handler of headers before the one that stands there now. A module's
    /// own handlers may set it anew, or leave it as it is.
    ///
    /// # Safety
    /// A live upstream.
    unsafe fn lead<M: Wrapped>(&self, upstream: *mut ngx_http_upstream_t) {
        let ours = M::entries().process_header;
        // SAFETY: the caller's.
        unsafe {
            let stands = (*upstream).process_header;
            if !stands.is_some_and(|h| core::ptr::fn_addr_eq(h, ours)) {
                self.process_header.set(stands);
                (*upstream).process_header = Some(ours);
            }
        }
    }
}

type Handler = Option<unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t>;

/// The beginning of an upstream's answer.
pub struct AnswerHead<'a> {
    upstream: &'a ngx_http_upstream_t,
    bodiless: bool,
}

impl<'a> AnswerHead<'a> {
    /// The status.
    pub fn status(&self) -> u16 {
        self.upstream.headers_in.status_n as u16
    }

    /// Its headers: names as they came, and values.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        // SAFETY: the upstream's header has been read: its list is complete, and
        // lies in the request's pool.
        unsafe {
            HeadersIn::of_list(&self.upstream.headers_in.headers)
                .map(|header| (bytes_of(&(*header).key), bytes_of(&(*header).value)))
        }
    }

    /// What has come of the body, as it came: with the frame of chunks, if there is one.
    pub fn body(&self) -> &'a [u8] {
        let buffer = &self.upstream.buffer;
        let length = (buffer.last as usize).saturating_sub(buffer.pos as usize);
        if buffer.pos.is_null() || length == 0 {
            return &[];
        }
        // SAFETY: nginx has read into the buffer from `pos` to `last`, and reads on
        // only after the call that has lent us the upstream.
        unsafe { core::slice::from_raw_parts(buffer.pos, length) }
    }

    /// Whether more of the body is sure to come, and there is room for it.
    pub fn may_grow(&self) -> bool {
        let u = self.upstream;
        if self.bodiless || u.buffer.last == u.buffer.end {
            return false;
        }
        match u64::try_from(u.headers_in.content_length_n) {
            Ok(length) => (self.body().len() as u64) < length,
            Err(_) => u.headers_in.chunked() != 0 && !self.body().ends_with(b"0\r\n\r\n"),
        }
    }
}

/// Puts our hooks before those of a prepared upstream.
///
/// # Safety
/// A live upstream.
pub(crate) unsafe fn hook<M: Wrapped>(state: &State, upstream: *mut ngx_http_upstream_t) {
    let hooks = &state.hooks;
    hooks.undecided.set(false);
    hooks.kept.set(false);
    hooks.given_up.set(None);
    hooks.last_words.set(None);
    // SAFETY: the caller's.
    unsafe {
        hooks.lead::<M>(upstream);
        hooks.reinit_request.set((*upstream).reinit_request);
        (*upstream).reinit_request = Some(reinit_request_entry::<M>);
    }
}

/// nginx sends the request to another server of the upstream, by its own choice.
unsafe extern "C" fn reinit_request_entry<M: Wrapped>(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        let state = context::state(r);
        let theirs = state.and_then(|h| Some((h, h.hooks.reinit_request.get()?)));
        let Some((state, theirs)) = theirs else {
            return NGX_ERROR as ngx_int_t;
        };
        state.hooks.undecided.set(false);
        state.hooks.kept.set(false);
        // SAFETY: live request with an upstream; `theirs` stood here before.
        unsafe {
            let rc = theirs(r);
            state.hooks.lead::<M>((*r).upstream);
            rc
        }
    })
}

pub(crate) unsafe extern "C" fn process_header_entry<M: Wrapped>(
    r: *mut ngx_http_request_t,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        let state = context::state(r);
        let theirs = state.and_then(|h| Some((h, h.hooks.process_header.get()?)));
        let Some((state, theirs)) = theirs else {
            return NGX_ERROR as ngx_int_t;
        };
        let hooks = &state.hooks;
        if !hooks.undecided.get() {
            // SAFETY: live request whose upstream's header is being read; `theirs`
            // is what parses it, and may leave the rest to another parser.
            unsafe {
                let version = (*r).http_version;
                let rc = theirs(r);
                let upstream = (*r).upstream;
                hooks.lead::<M>(upstream);
                // A header out of the cache is no answer of the upstream.
                if rc != NGX_OK as ngx_int_t || (*r).cached() != 0 {
                    return rc;
                }
                // Bytes without a status line nginx takes for HTTP/0.9, and would
                // give the client as they are.
                if (*upstream).headers_in.status_n == 0 {
                    (*r).http_version = version;
                    return NGX_HTTP_UPSTREAM_INVALID_HEADER as ngx_int_t;
                }
            }
        }
        // SAFETY: as above.
        let (request, head) = unsafe {
            let head = AnswerHead {
                upstream: &*(*r).upstream,
                bodiless: (*r).method == NGX_HTTP_HEAD as usize,
            };
            (Request::borrow(r), head)
        };
        let verdict = M::answer_begun(request, &head);
        hooks.undecided.set(verdict == AttemptDecision::Undecided);
        hooks.kept.set(verdict == AttemptDecision::Keep);
        match verdict {
            AttemptDecision::Keep => NGX_OK as ngx_int_t,
            AttemptDecision::Undecided => NGX_AGAIN as ngx_int_t,
            AttemptDecision::Over => {
                // SAFETY: live request; the reference is the one that nginx gives
                // back when, for the error, it finalizes an upstream that has been
                // finalized already. `head` is not used any more.
                unsafe {
                    (*(*r).main).set_count((*(*r).main).count() + 1);
                    request.cut_upstream();
                }
                come_back(request);
                NGX_ERROR as ngx_int_t
            }
        }
    })
}

/// nginx gives an upstream up that has not answered, or not wholly: `rc` is what it would
/// tell the client. Has it tell nothing if the owner wants another attempt, and asks the
/// owner for last words on an answer that has broken off.
///
/// # Safety
/// To be called from `finalize_request` of a live request's upstream.
pub(crate) unsafe fn give_up<M: Wrapped>(r: *mut ngx_http_request_t, state: &State, rc: ngx_int_t) {
    let Ok(status @ 500..=599) = u16::try_from(rc) else {
        return;
    };
    // SAFETY: the caller's. After its finalizer, nginx ends an unanswered request by
    // `rc`, but flushes one whose header has been sent, and then ends it by what the
    // filters say of that: `answer_held` says NGX_DONE, which gives back the
    // reference that is taken here and leaves the request alone.
    unsafe {
        let upstream = (*r).upstream;
        if (*r).header_sent() != 0 {
            // nginx goes on to flush what has been sent, and closes the connection.
            let words = M::answer_broken(Request::borrow(r), status);
            state.hooks.last_words.set(words);
            return;
        }
        if (*upstream).header_sent() != 0 || (*r).header_only() != 0 {
            return;
        }
        // A page of nginx's own goes in the place of an answer that has been judged
        // (`proxy_intercept_errors`). Of a server that it has given up, nginx has
        // forgotten the address.
        if state.hooks.kept.get() && !(*upstream).peer.sockaddr.is_null() {
            return;
        }
        let reused = (*upstream).peer.cached() != 0;
        if M::attempt_failed(Request::borrow(r), status, reused) != AttemptDecision::Over {
            return;
        }
        (*upstream).set_header_sent(1);
        state.hooks.given_up.set(Some((*r).keepalive()));
        (*(*r).main).set_count((*(*r).main).count() + 1);
    }
}

impl Request<'_> {
    /// Whether what nginx sends now comes of an upstream that it is done with. Ask in
    /// the body filter.
    pub fn upstream_end(&self) -> Option<End> {
        let state = context::state(self.raw)?;
        if let Some(words) = state.hooks.last_words.take() {
            return Some(End::Broken(words));
        }
        let keepalive = state.hooks.given_up.take()?;
        // SAFETY: live request whose header has not been sent. The copy filter has
        // made its context for a flush, before the filters have said what they need
        // of this answer: it makes another for the answer itself.
        unsafe {
            (*self.raw).set_keepalive(keepalive);
            let copy = &raw const ngx_http_copy_filter_module;
            *(*self.raw).ctx.add((*copy).ctx_index) = core::ptr::null_mut();
        }
        come_back(*self);
        Some(End::Attempt)
    }
}

/// Sends a request through PRECONTENT once more, from the event loop.
fn come_back(request: Request<'_>) {
    let r = request.raw;
    let Some(entries) = registered::entries() else {
        return;
    };
    (entries.attempt_over)(request);
    if let Some(state) = context::state(r) {
        state.authorization.take();
    }
    // SAFETY: live request without an upstream connection; its body has been read,
    // and its handler for the content phase is set by the phases anew.
    unsafe {
        #[cfg(ngx_feature = "http_cache")]
        {
            (*r).cache = core::ptr::null_mut();
        }
        if let Some(index) = phase::index_of(r, entries.precontent) {
            (*r).phase_handler = index;
        }
        (*r).write_event_handler = Some(ngx_http_core_run_phases);
    }
    request.go_on();
}

//! Attempts to send a request to an upstream. An attempt is judged when its response begins, and
//! can be repeated as long as nothing of it has been sent to the client.

use core::cell::Cell;
use core::marker::PhantomData;

use ngx::ffi::{
    NGX_AGAIN, NGX_ERROR, NGX_HTTP_HEAD, NGX_HTTP_UPSTREAM_INVALID_HEADER, NGX_OK,
    ngx_http_core_run_phases, ngx_http_request_t, ngx_http_upstream_t, ngx_int_t, ngx_module_t,
};

use crate::config::registered;
use crate::guard;
use crate::request::context::{self, RequestState};
use crate::request::handle::Request;
use crate::request::headers::HeadersIn;
use crate::request::phase;
use crate::text::bytes_of;
use crate::upstream::wrap::Wrapped;

unsafe extern "C" {
    /// Not declared in any header of nginx.
    pub(crate) static ngx_http_copy_filter_module: ngx_module_t;
}

/// What to do with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptDecision {
    /// Send its response to the client.
    Keep,
    /// Wait for more of the response body before deciding.
    Undecided,
    /// Drop its response, and run the request again from PRECONTENT.
    Over,
}

/// The original hooks of an upstream, and the state of the current attempt.
#[derive(Default)]
pub(crate) struct Hooks {
    process_header: Cell<Handler>,
    reinit_request: Cell<Handler>,
    state: Cell<AttemptState>,
}

/// State of an attempt. It is not needed any more when the body filter is called.
#[derive(Clone, Copy, Default)]
pub(crate) enum AttemptState {
    /// There is no response yet.
    #[default]
    Open,
    /// The response header has been read; more of the body is needed to decide.
    Undecided,
    /// The response is to be sent to the client.
    Kept,
    /// nginx has given up, and the attempt is to be repeated. Contains the previous value of
    /// `r->keepalive`.
    GivenUp(u32),
    /// The response was interrupted; the last bytes to send to the client.
    Broken(&'static [u8]),
}

impl Hooks {
    /// Installs the `process_header` of this crate in front of the present one. To be called again
    /// after calls of the upstream module, which may replace it.
    ///
    /// # Safety
    /// The upstream must be live.
    unsafe fn lead<M: Wrapped>(&self, upstream: *mut ngx_http_upstream_t) {
        let ours = M::entries().process_header;
        // SAFETY: the caller guarantees that the upstream is live: it is in the pool of a live
        // request (Upstream).
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

/// The header of an upstream's response, and the beginning of its body.
pub struct AnswerHead<'a> {
    /// A pointer, since the holder may call [`Request::stream_answer`], which changes the upstream.
    upstream: *const ngx_http_upstream_t,
    bodiless: bool,
    lent: PhantomData<&'a ngx_http_upstream_t>,
}

impl<'a> AnswerHead<'a> {
    /// The upstream, for the time of one function that calls no other code.
    fn upstream(&self) -> &ngx_http_upstream_t {
        // SAFETY: the upstream is in the pool of the request, which is live during the call that
        // the value is lent for (Upstream). nginx does not change the upstream before that call
        // returns.
        unsafe { &*self.upstream }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.upstream().headers_in.status_n as u16
    }

    /// The headers: names as received, and values.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        // SAFETY: nginx has read the header, so its list is complete.
        // ngx_http_upstream_process_header makes the list in the pool of the request, which is live
        // for `'a` (Upstream, Lists).
        unsafe {
            HeadersIn::of_list(&self.upstream().headers_in.headers)
                .map(|header| (bytes_of(&(*header).key), bytes_of(&(*header).value)))
        }
    }

    /// The part of the body that has been received, in its raw form: with chunk headers if it is
    /// chunked.
    pub fn body(&self) -> &'a [u8] {
        let buffer = &self.upstream().buffer;
        let length = (buffer.last as usize).saturating_sub(buffer.pos as usize);
        if buffer.pos.is_null() || length == 0 {
            return &[];
        }
        // SAFETY: nginx has read the bytes from `pos` to `last` into a buffer in the pool of the
        // request (Upstream). It reads more only after the call that the upstream is borrowed for.
        unsafe { core::slice::from_raw_parts(buffer.pos, length) }
    }

    /// Whether the body is chunked.
    pub fn is_chunked(&self) -> bool {
        self.upstream().headers_in.chunked() != 0
    }

    /// Whether more of the body can be received: it is chunked or has not all arrived, and the
    /// buffer has room.
    pub fn may_grow(&self) -> bool {
        let u = self.upstream();
        if self.bodiless || u.buffer.last == u.buffer.end {
            return false;
        }
        match u64::try_from(u.headers_in.content_length_n) {
            Ok(length) => (self.body().len() as u64) < length,
            Err(_) => self.is_chunked(),
        }
    }
}

/// Installs the hooks of this crate in an upstream that its module has prepared.
///
/// # Safety
/// The upstream must be live.
pub(crate) unsafe fn hook<M: Wrapped>(state: &RequestState, upstream: *mut ngx_http_upstream_t) {
    let hooks = &state.hooks;
    hooks.state.set(AttemptState::Open);
    // SAFETY: the caller guarantees that the upstream is live: it is in the pool of a live request
    // (Upstream).
    unsafe {
        hooks.lead::<M>(upstream);
        hooks.reinit_request.set((*upstream).reinit_request);
        (*upstream).reinit_request = Some(reinit_request_entry::<M>);
    }
}

/// The `reinit_request` hook: nginx is about to send the request to another server of the upstream.
unsafe extern "C" fn reinit_request_entry<M: Wrapped>(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx calls the hook with a live request (Upstream).
        let state = context::state(unsafe { Request::borrow(r) });
        let theirs = state.and_then(|h| Some((h, h.hooks.reinit_request.get()?)));
        let Some((state, theirs)) = theirs else {
            return NGX_ERROR as ngx_int_t;
        };
        state.hooks.state.set(AttemptState::Open);
        // SAFETY: nginx calls the hook with a live request that has an upstream (Upstream).
        // `theirs` is the hook that the upstream's module had set, and takes the same argument.
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
        // SAFETY: nginx calls the hook with a live request (Upstream).
        let request = unsafe { Request::borrow(r) };
        let state = context::state(request);
        let theirs = state.and_then(|h| Some((h, h.hooks.process_header.get()?)));
        let Some((state, theirs)) = theirs else {
            return NGX_ERROR as ngx_int_t;
        };
        let hooks = &state.hooks;
        if !matches!(hooks.state.get(), AttemptState::Undecided) {
            // SAFETY: nginx calls the hook with a live request while it reads the header of its
            // upstream (Upstream). `theirs` is the hook that the upstream's module had set, or a
            // parser that this hook has set for the rest of the header; it may set another one.
            unsafe {
                let version = (*r).http_version;
                let rc = theirs(r);
                let upstream = (*r).upstream;
                hooks.lead::<M>(upstream);
                // A header from the cache is not a response of the upstream.
                if rc != NGX_OK as ngx_int_t || (*r).cached() != 0 {
                    return rc;
                }
                // nginx takes bytes without a status line for HTTP/0.9, and would pass them to the
                // client.
                if (*upstream).headers_in.status_n == 0 {
                    (*r).http_version = version;
                    return NGX_HTTP_UPSTREAM_INVALID_HEADER as ngx_int_t;
                }
            }
        }
        // SAFETY: the upstream is in the pool of the live request (Upstream). nginx does not read
        // more before this hook returns, so not during the call that the head is borrowed for.
        let head = unsafe {
            AnswerHead {
                upstream: (*r).upstream,
                bodiless: (*r).method == NGX_HTTP_HEAD as usize,
                lent: PhantomData,
            }
        };
        match M::answer_begun(request, &head) {
            AttemptDecision::Keep => {
                hooks.state.set(AttemptState::Kept);
                NGX_OK as ngx_int_t
            }
            AttemptDecision::Undecided => {
                hooks.state.set(AttemptState::Undecided);
                NGX_AGAIN as ngx_int_t
            }
            AttemptDecision::Over => {
                hooks.state.set(AttemptState::Open);
                // SAFETY: a `Request` is live. Because of NGX_ERROR, nginx finalizes the upstream
                // again; as it has been finalized already, nginx only releases one reference, the
                // one taken here (References). `head` is not used any more.
                unsafe {
                    (*(*r).main).set_count((*(*r).main).count() + 1);
                    request.cut_upstream();
                }
                run_again(request);
                NGX_ERROR as ngx_int_t
            }
        }
    })
}

/// Handles the failure of an upstream: it has not responded, or not completely. `rc` is the status
/// that nginx would send. If the module wants another attempt, nginx sends nothing. If the response
/// was interrupted, the module provides its last bytes.
///
/// # Safety
/// `r` must be live, and the call be in the `finalize_request` of its upstream.
pub(crate) unsafe fn give_up<M: Wrapped>(
    r: *mut ngx_http_request_t,
    state: &RequestState,
    rc: ngx_int_t,
) {
    let Ok(status @ 500..=599) = u16::try_from(rc) else {
        return;
    };
    // SAFETY: the caller guarantees the request. After this hook, nginx ends the request with `rc`
    // unless the upstream's `header_sent` is set. If it is set, nginx sends a flush through the
    // filters and finalizes the request with their result. `pass_body` returns NGX_DONE then (see
    // `take_attempt`), which releases the reference taken here and leaves the request alone
    // (References).
    unsafe {
        let upstream = (*r).upstream;
        if (*r).header_sent() != 0 {
            // nginx flushes what has been sent, through the filters, and closes the connection.
            if let Some(words) = M::answer_broken(Request::borrow(r), status) {
                state.hooks.state.set(AttemptState::Broken(words));
            }
            return;
        }
        if (*upstream).header_sent() != 0 || (*r).header_only() != 0 {
            return;
        }
        // A response that was kept can be replaced by nginx's own page (`proxy_intercept_errors`).
        // If nginx has given up a server, `sockaddr` is null.
        let is_kept = matches!(state.hooks.state.get(), AttemptState::Kept);
        if is_kept && !(*upstream).peer.sockaddr.is_null() {
            return;
        }
        let reused = (*upstream).peer.cached() != 0;
        if M::attempt_failed(Request::borrow(r), status, reused) != AttemptDecision::Over {
            return;
        }
        (*upstream).set_header_sent(1);
        let keepalive = (*r).keepalive();
        state.hooks.state.set(AttemptState::GivenUp(keepalive));
        (*(*r).main).set_count((*(*r).main).count() + 1);
    }
}

impl Request<'_> {
    /// Takes the state of the attempt in a call of the body filter. nginx calls it with
    /// [`AttemptState::GivenUp`] or [`AttemptState::Broken`] once, after it has finalized the
    /// upstream. The former makes the request run again.
    pub(crate) fn take_attempt(&self) -> AttemptState {
        let state = context::state(*self).map(|state| state.hooks.state.take());
        if let Some(AttemptState::GivenUp(keepalive)) = state {
            // SAFETY: a `Request` is live, and its `ctx` has an entry of the copy filter (Request).
            // Its header has not been sent. The copy filter has made its context for the flush, in
            // the pool, before the other filters have set what they need for the response. Without
            // a context, it makes another one for the response.
            unsafe {
                (*self.raw).set_keepalive(keepalive);
                let copy = &raw const ngx_http_copy_filter_module;
                *(*self.raw).ctx.add((*copy).ctx_index) = core::ptr::null_mut();
            }
            run_again(*self);
        }
        state.unwrap_or_default()
    }
}

/// Runs a request again from PRECONTENT, from the event loop.
fn run_again(request: Request<'_>) {
    let r = request.raw;
    let Some(entries) = registered::entries() else {
        return;
    };
    // A panic must not prevent the request from running again.
    guard((), || (entries.enters_precontent)(request));
    if let Some(state) = context::state(request) {
        state.authorization.take();
    }
    // SAFETY: a `Request` is live (see `Request`), and nginx has finalized its upstream, so that no
    // event of it runs this request. Its body has been read. The phases set its content handler
    // again.
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

use std::rc::Rc;

use ngx::ffi::{
    NGX_DECLINED, NGX_DONE, NGX_ERROR, NGX_HTTP_BAD_GATEWAY, NGX_HTTP_INTERNAL_SERVER_ERROR,
    NGX_OK, NGX_USE_CLEAR_EVENT, ngx_array_push, ngx_event_actions, ngx_event_flags,
    ngx_http_core_run_phases, ngx_http_handler_pt, ngx_http_post_subrequest_t, ngx_http_request_t,
    ngx_http_upstream_init, ngx_http_upstream_t, ngx_int_t, ngx_palloc, ngx_post_event,
    ngx_posted_events,
};
use zeroize::Zeroizing;

use crate::config::module::{HttpModule, LocationConf};
use crate::config::{registered, tagged};
use crate::guard;
use crate::net::timer::{CLEAR_EVENT, WRITE_EVENT};
use crate::request::context::{self, RequestState};
use crate::request::handle::Request;
use crate::request::headers::SentHeaders;
use crate::request::phase;
use crate::upstream::abort;
use crate::upstream::attempt::{self, AnswerHead, AttemptDecision};
use crate::upstream::rewrite::Rewritten;
use crate::upstream::swap::Swapped;

/// Callbacks for requests that the module sends through the content handler of another module.
pub trait Wrapped: HttpModule {
    /// Whether a request header of this name contains a credential of the client.
    fn is_credential(name: &[u8]) -> bool;
    /// The secret in the value of such a header.
    fn secret_of(value: &[u8]) -> &[u8];
    /// Whether the value of another header contains that secret.
    fn contains_secret(value: &[u8], secret: &[u8]) -> bool;
    /// Called when the upstream's response is complete, or the content handler has used no
    /// upstream. Parts of it may not have been sent to the client yet.
    fn answer_complete(request: Request<'_>);
    /// Called when the header of the upstream's response has been read, before anything is sent to
    /// the client. After [`AttemptDecision::Undecided`], called again when more has been read.
    fn answer_begun(request: Request<'_>, head: &AnswerHead<'_>) -> AttemptDecision;
    /// Called when nginx is about to send `status` because the upstream could not be reached or has
    /// not responded. `reused` says that the connection was kept from an earlier request.
    /// [`AttemptDecision::Undecided`] means the same as [`AttemptDecision::Keep`] here.
    fn attempt_failed(request: Request<'_>, status: u16, reused: bool) -> AttemptDecision;
    /// Called when the upstream's response was interrupted; `status` is nginx's error. Returns
    /// bytes to send instead of the rest.
    fn answer_broken(request: Request<'_>, status: u16) -> Option<&'static [u8]>;
    /// Called before a request runs through PRECONTENT although the handlers of that phase have run:
    /// after the connection of an attempt with [`AttemptDecision::Over`] has been closed, or because
    /// the request is a clone of another one and begins in the content phase.
    fn enters_precontent(request: Request<'_>);
}

impl Request<'_> {
    /// Makes the location's own content handler (`proxy_pass`) send `authorization` in place of the
    /// client's credentials, and `headers` in place of the client's headers.
    ///
    /// The client's headers are only replaced while the request to the upstream is made, so that
    /// log lines and later locations never see the value. `false` if the location has no content
    /// handler that can send it, or the request has no context.
    pub fn send_with(
        &self,
        authorization: Rc<Zeroizing<Vec<u8>>>,
        headers: Option<SentHeaders>,
    ) -> bool {
        let known = context::state(*self).zip(registered::entries());
        let Some((state, entries)) = known.filter(|_| self.own_handler().is_some()) else {
            return false;
        };
        // SAFETY: a `Request` is live (see `Request`). Its content handler already is this one,
        // unless another module has replaced it.
        unsafe { (*self.raw).content_handler = Some(entries.content) };
        *state.authorization.borrow_mut() = Some(authorization);
        *state.headers.borrow_mut() = headers.map(Rc::new);
        true
    }

    /// The content handler set by the location's own directive.
    fn own_handler(&self) -> ngx_http_handler_pt {
        // SAFETY: a `Request` is live. nginx keeps in its loc_conf what create_loc_conf of this
        // module returned, made by `create`; it lives as long as the cycle (Request,
        // Configuration).
        let notes = unsafe { tagged::notes(*(*self.raw).loc_conf.add(registered::position())) };
        notes.and_then(|notes| notes.handler.get())
    }

    /// Whether a content handler will be called. Otherwise nginx serves a file.
    pub fn has_handler(&self) -> bool {
        self.get().content_handler.is_some()
    }

    /// Makes nginx call [`HttpModule::ended`] at the end of a subrequest, for which there is no LOG
    /// phase.
    pub fn report_end(&self) {
        let known = context::state(*self).zip(registered::entries());
        let Some((state, entries)) = known else {
            return;
        };
        let own = entries.subrequest;
        // SAFETY: a `Request` is live, and so is its pool (Request). nginx requires that
        // `post_subrequest` is null or valid for the life of the subrequest; `subrequest_entry`
        // calls the original handler. ngx_palloc returns null or memory of the pool, where the new
        // record lives as long (Pool).
        unsafe {
            let theirs = (*self.raw).post_subrequest;
            if let Some(theirs) = theirs.as_ref() {
                if theirs
                    .handler
                    .is_some_and(|h| core::ptr::fn_addr_eq(h, own))
                {
                    return;
                }
                state.subrequest.set((theirs.handler, theirs.data));
            }
            let size = size_of::<ngx_http_post_subrequest_t>();
            let record = ngx_palloc((*self.raw).pool, size).cast::<ngx_http_post_subrequest_t>();
            if record.is_null() {
                return;
            }
            record.write(ngx_http_post_subrequest_t {
                handler: Some(own),
                data: core::ptr::null_mut(),
            });
            (*self.raw).post_subrequest = record;
        }
    }

    fn upstream(&self) -> Option<&ngx_http_upstream_t> {
        // SAFETY: a `Request` is live, and `upstream` is null or in its pool (Upstream).
        unsafe { (*self.raw).upstream.as_ref() }
    }

    /// Whether the response being sent comes from the upstream, directly or from the cache.
    pub fn is_upstream_answer(&self) -> bool {
        self.upstream().is_some_and(|u| {
            // nginx closes the connection before it sends its own response instead.
            let cached = self.get().cached() != 0;
            u.headers_in.status_n != 0 && (!u.peer.connection.is_null() || cached)
        })
    }

    /// Whether the response comes from nginx's cache, so that no request is sent to an upstream.
    pub fn is_from_cache(&self) -> bool {
        self.get().cached() != 0
    }

    /// Whether nginx buffers the upstream's response, which it also does to cache it.
    pub fn is_buffered(&self) -> bool {
        self.upstream().is_some_and(|u| u.buffering() != 0)
    }

    /// Disables buffering of the upstream's response, unless it is cached or stored. Call it from
    /// the header filter: nginx decides afterwards.
    pub fn stream_answer(&self) {
        // SAFETY: a `Request` is live, and `upstream` is null or in its pool (Upstream).
        // `buffering` must not change after the header has been sent, or if the response is cached
        // or stored, because nginx then uses its buffers.
        unsafe {
            if let Some(u) = (*self.raw).upstream.as_mut()
                && (*self.raw).header_sent() == 0
                && u.cacheable() == 0
                && u.store() == 0
            {
                u.set_buffering(0);
            }
        }
    }
}

pub(crate) unsafe extern "C" fn content_entry<M: Wrapped>(r: *mut ngx_http_request_t) -> ngx_int_t {
    let failed = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
    guard(failed, || {
        // SAFETY: nginx calls content handlers with a live request (Call).
        let request = unsafe { Request::borrow(r) };
        let Some(place) = request.location::<M::Location>() else {
            return failed;
        };
        // The handler may come from an earlier `if` block, while the present one has none.
        let Some(content) = request.own_handler() else {
            return failed;
        };
        if !place.is_wrapped() {
            // SAFETY: nginx called the wrapper with a live request (Call). `content` is the content
            // handler that another module has set for its location, and that nginx would call
            // itself.
            return unsafe { content(r) };
        }
        // Without `send_with`, the handler would send the client's credentials.
        match context::state(request) {
            Some(state) if state.authorization.borrow().is_some() => {
                // SAFETY: nginx called the wrapper with a live request in its content phase (Call),
                // and `content` is the content handler that another module has set for its
                // location.
                unsafe { send_wrapped::<M>(request, state, content) }
            }
            Some(_) => failed,
            // A subrequest that is a clone (a slice, a cache update) starts in the content phase.
            None => {
                M::enters_precontent(request);
                // SAFETY: nginx called the content handler with this live request (Call).
                unsafe { through_precontent::<M>(r) }
            }
        }
    })
}

/// # Safety
/// The request must be live and in its content phase, and `content` be the content handler of its
/// location.
unsafe fn send_wrapped<M: Wrapped>(
    request: Request<'_>,
    state: &RequestState,
    content: unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t,
) -> ngx_int_t {
    let r = request.raw;
    // SAFETY: the caller guarantees request and handler; ngx_http_core_content_phase holds a
    // reference to the request until the handler returns (References). The body has been read, so
    // the handler calls ngx_http_upstream_init before it returns. That does nothing while `aio` is
    // set and the connection's write event is active, so the hooks of the prepared upstream can be
    // replaced here. ngx_http_upstream_init is then called again, without `aio`.
    unsafe {
        if !activate_writing(r) || !reserve_state(r) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
        }
        // A request that was redirected internally may have an earlier upstream.
        let before = (*r).upstream;
        let redirects = (*r).uri_changes();
        (*r).set_aio(1);
        let rc = content(r);
        let held = (*r).aio() != 0;
        (*r).set_aio(0);
        let made = (*r).upstream;
        if (*r).uri_changes() != redirects {
            // The handler has redirected the request to another location. If that is not wrapped,
            // `aio` has kept its upstream from starting.
            let is_wrapped = request
                .location::<M::Location>()
                .is_none_or(M::Location::is_wrapped);
            if held && made != before && rc == NGX_DONE as ngx_int_t && !is_wrapped {
                ngx_http_upstream_init(r);
            }
            ngx_post_event((*(*r).connection).write, &raw mut ngx_posted_events);
            return rc;
        }
        if made == before {
            // `aio` may have delayed sending a response.
            ngx_post_event((*(*r).connection).write, &raw mut ngx_posted_events);
            M::answer_complete(request);
            return own_answer(r, rc);
        }
        if rc == NGX_DONE as ngx_int_t {
            state.create_request.set((*made).create_request);
            (*made).create_request = Some(create_request_entry::<M>);
            state.finalize_request.set((*made).finalize_request);
            (*made).finalize_request = Some(finalize_request_entry::<M>);
            attempt::hook::<M>(state, made);
            ngx_http_upstream_init(r);
        }
        rc
    }
}

/// Adds the write event of the client's connection, if necessary. ngx_http_upstream_init does this
/// too, but if it fails there, the request is finalized inside the content handler.
///
/// # Safety
/// `r` must be live.
unsafe fn activate_writing(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: the caller guarantees that the request is live, and so is its connection with both
    // events (Request). Streams of HTTP/2 and HTTP/3 have connections without a socket, and are
    // excluded. ngx_http_upstream_init adds the event in the same way, and only if it is not
    // active.
    unsafe {
        #[cfg(ngx_feature = "http_v2")]
        if !(*r).stream.is_null() {
            return true;
        }
        #[cfg(ngx_feature = "http_v3")]
        if !(*(*r).connection).quic.is_null() {
            return true;
        }
        let write = (*(*r).connection).write;
        let by_edges = ngx_event_flags & NGX_USE_CLEAR_EVENT as usize != 0;
        if !by_edges || (*write).active() != 0 {
            return true;
        }
        let add = ngx_event_actions.add;
        add.is_some_and(|add| add(write, WRITE_EVENT, CLEAR_EVENT) == NGX_OK as ngx_int_t)
    }
}

/// Makes sure that nginx can add a state for one more attempt. If ngx_http_upstream_init cannot, it
/// fails before it has set `cleanup`, and therefore assumes that the request has already been
/// finalized: the request would hang.
///
/// # Safety
/// `r` must be live.
unsafe fn reserve_state(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: the caller guarantees that the request is live. `upstream_states` is null before the
    // first attempt, or an array that nginx has made in the pool of the request (Upstream). The
    // pushed element is removed again, and becomes the next one that nginx pushes.
    unsafe {
        let states = (*r).upstream_states;
        if states.is_null() {
            return true;
        }
        if ngx_array_push(states).is_null() {
            return false;
        }
        (*states).nelts -= 1;
        true
    }
}

/// The result of a content handler that has prepared no upstream: its own result if it has sent a
/// response, rejected the request or will continue later; 502 otherwise.
///
/// # Safety
/// `r` must be live.
unsafe fn own_answer(r: *mut ngx_http_request_t, rc: ngx_int_t) -> ngx_int_t {
    const DONE: ngx_int_t = NGX_DONE as ngx_int_t;
    const DECLINED: ngx_int_t = NGX_DECLINED as ngx_int_t;
    // SAFETY: the caller guarantees that the request is live: ngx_http_core_content_phase holds a
    // reference to it until the content handler returns (References).
    let answered = unsafe { (*r).header_sent() != 0 };
    match rc {
        _ if answered => rc,
        DONE | DECLINED | 200..=499 => rc,
        _ => NGX_HTTP_BAD_GATEWAY as ngx_int_t,
    }
}

/// Runs PRECONTENT for a request that starts in the content phase.
///
/// # Safety
/// To be called from the content handler of the live request `r`.
unsafe fn through_precontent<M: Wrapped>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: the caller guarantees that nginx called a content handler with this request.
    // ngx_http_core_content_phase finalizes the request with the result NGX_DONE, which releases
    // the reference taken here (References).
    unsafe {
        let Some(index) = phase::index_of(r, M::entries().precontent) else {
            return NGX_ERROR as ngx_int_t;
        };
        (*(*r).main).set_count((*(*r).main).count() + 1);
        (*r).phase_handler = index;
        (*r).write_event_handler = Some(ngx_http_core_run_phases);
        ngx_http_core_run_phases(r);
    }
    NGX_DONE as ngx_int_t
}

unsafe extern "C" fn create_request_entry<M: Wrapped>(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx calls the hook with a live request (Upstream).
        let request = unsafe { Request::borrow(r) };
        let state = context::state(request);
        let made =
            state.and_then(|h| Some((h.create_request.get()?, h.authorization.borrow().clone()?)));
        let Some((create, authorization)) = made else {
            return NGX_ERROR as ngx_int_t;
        };
        let rewrites = state.map(|h| h.rewrites.borrow().clone());
        let rewrites = rewrites.unwrap_or_default();
        let headers = state.and_then(|h| h.headers.borrow().clone());
        // SAFETY: nginx calls this hook with a live request while it makes the request to the
        // upstream (Upstream). `create` is the hook that the upstream's module had set, and takes
        // the same argument. The replacements are dropped before this returns.
        unsafe {
            if let Some(state) = state
                && request
                    .location::<M::Location>()
                    .is_some_and(LocationConf::drains)
            {
                abort::watch::<M>(r, state);
            }
            let _swapped = Swapped::<M>::new(r, &authorization, headers.as_deref());
            let rewritten = Rewritten::new(r, &rewrites);
            if rewritten.is_none() {
                return NGX_ERROR as ngx_int_t;
            }
            create(r)
        }
    })
}

/// The `finalize_request` hook: nginx has finished with the upstream. `rc` is zero only if the
/// response is complete. nginx closes the connection or keeps it for reuse after this call.
unsafe extern "C" fn finalize_request_entry<M: Wrapped>(r: *mut ngx_http_request_t, rc: ngx_int_t) {
    guard((), || {
        // SAFETY: nginx calls the hook with a live request, before it closes the upstream's
        // connection (Upstream).
        let request = unsafe { Request::borrow(r) };
        if rc == NGX_OK as ngx_int_t {
            M::answer_complete(request);
        }
        let state = context::state(request);
        if let Some(state) = state {
            // SAFETY: nginx called the `finalize_request` hook with this live request, so it has an
            // upstream (Upstream).
            unsafe { attempt::give_up::<M>(r, state, rc) };
        }
        let theirs = state
            .or_else(|| context::recall_state(request))
            .and_then(|h| h.finalize_request.get());
        if let Some(theirs) = theirs {
            // SAFETY: `theirs` is the hook that the upstream's module had set, called with nginx's
            // arguments; nginx keeps the request live until the hook returns (Upstream).
            unsafe { theirs(r, rc) }
        }
    });
}

pub(crate) unsafe extern "C" fn subrequest_entry<M: Wrapped>(
    r: *mut ngx_http_request_t,
    _data: *mut core::ffi::c_void,
    rc: ngx_int_t,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: ngx_http_finalize_request calls post_subrequest with the live subrequest, once or
        // more (Call).
        let request = unsafe { Request::borrow(r) };
        let state = context::state(request).or_else(|| context::recall_state(request));
        M::ended(request);
        match state.map(|h| h.subrequest.get()) {
            // SAFETY: `theirs` is the handler that the module which made the subrequest has set,
            // with its own data; ngx_http_finalize_request would pass the same. Both are valid for
            // the life of the subrequest.
            Some((Some(theirs), data)) => unsafe { theirs(r, data, rc) },
            _ => rc,
        }
    })
}

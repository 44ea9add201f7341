use core::cell::Cell;
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
use crate::config::registered;
use crate::guard;
use crate::net::timer::{CLEAR_EVENT, WRITE_EVENT};
use crate::request::context::{self, State};
use crate::request::handle::Request;
use crate::request::headers::SentHeaders;
use crate::request::phase;
use crate::upstream::abort;
use crate::upstream::attempt::{self, AnswerHead, AttemptDecision};
use crate::upstream::rewrite::Rewritten;
use crate::upstream::swap::Swapped;

/// The content handler of a location, and what is known of it.
#[derive(Default)]
pub struct ContentHandler {
    /// What the location's own directive (`proxy_pass`) has set.
    pub(crate) theirs: Cell<ngx_http_handler_pt>,
    /// Whether it is one of the module's own, by [`crate::Conf::serve_content`].
    pub own: Cell<bool>,
}

impl ContentHandler {
    /// Whether there is a handler, to which a key can be given.
    pub fn is_set(&self) -> bool {
        self.theirs.get().is_some()
    }
}

/// What a wrapped request tells its owner.
pub trait Wrapped: HttpModule {
    /// Whether a request header of this name holds a credential of the client.
    fn is_credential(name: &[u8]) -> bool;
    /// The secret in the value of such a header.
    fn secret_of(value: &[u8]) -> &[u8];
    /// Whether the value of another header tells that secret.
    fn tells_secret(value: &[u8], secret: &[u8]) -> bool;
    /// The upstream has given its whole answer; the client may not have it yet.
    fn answer_complete(request: Request<'_>);
    /// The upstream's answer begins, and the client has seen nothing of it.
    fn answer_begun(request: Request<'_>, head: &AnswerHead<'_>) -> AttemptDecision;
    /// nginx is about to answer with `status` in place of an upstream that could not
    /// be reached, or has not answered. `reused`: by a connection kept from before.
    /// [`AttemptDecision::Undecided`] is the same as [`AttemptDecision::Keep`] here.
    fn attempt_failed(request: Request<'_>, status: u16, reused: bool) -> AttemptDecision;
    /// The upstream's answer has broken off, for which nginx has this status; what is to
    /// end it in place of the rest.
    fn answer_broken(request: Request<'_>, status: u16) -> Option<&'static [u8]>;
    /// The connection of an attempt that was [`AttemptDecision::Over`] is closed.
    fn attempt_over(request: Request<'_>);
    /// A subrequest is done; it has no log phase of its own.
    fn subrequest_done(request: Request<'_>);
}

impl Request<'_> {
    /// Has the location's own content handler (`proxy_pass`) send `authorization`
    /// in place of whatever credentials the client sent, and `headers` in place of its.
    ///
    /// The client's headers are as they were before and after: neither a log line
    /// nor a later location ever sees the value. `false` when the location has no
    /// handler that could send it.
    pub fn send_with<L: LocationConf>(
        &self,
        authorization: Rc<Zeroizing<Vec<u8>>>,
        headers: Option<SentHeaders>,
    ) -> bool {
        let place = self.location::<L>().map(LocationConf::content);
        let (Some(state), Some(place), Some(entries)) =
            (context::state(self.raw), place, registered::entries())
        else {
            return false;
        };
        if !place.is_set() {
            return false;
        }
        // SAFETY: live request. It has this handler, unless another module has put its
        // own in front of it.
        unsafe { (*self.raw).content_handler = Some(entries.content) };
        *state.authorization.borrow_mut() = Some(authorization);
        *state.headers.borrow_mut() = headers.map(Rc::new);
        true
    }

    /// Whether a content handler will be called, rather than nginx look for a file.
    pub fn has_handler(&self) -> bool {
        self.get().content_handler.is_some()
    }

    /// Has [`Wrapped::subrequest_done`] called at the end of a subrequest.
    pub fn tell_end(&self) {
        let known = context::state(self.raw).zip(registered::entries());
        let Some((state, entries)) = known else {
            return;
        };
        let own = entries.subrequest;
        // SAFETY: live subrequest; its post_subrequest is null or set by its maker,
        // and ours calls on to that. The record is in the request's pool.
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
        // SAFETY: null or a live upstream, as long as the request.
        unsafe { (*self.raw).upstream.as_ref() }
    }

    /// Whether the answer that is being sent is the upstream's own.
    pub fn is_upstream_answer(&self) -> bool {
        self.upstream().is_some_and(|u| {
            // nginx takes the connection away before it answers in its stead.
            let cached = self.get().cached() != 0;
            u.headers_in.status_n != 0 && (!u.peer.connection.is_null() || cached)
        })
    }

    /// Whether the answer comes from nginx's cache, so that no upstream is asked.
    pub fn is_from_cache(&self) -> bool {
        self.get().cached() != 0
    }

    /// Whether nginx keeps the upstream's answer in buffers of its own, or in a cache.
    pub fn is_buffered(&self) -> bool {
        self.upstream().is_some_and(|u| u.buffering() != 0)
    }

    /// Has each piece of the upstream's answer sent on when it arrives. Call it
    /// from the header filter: nginx decides after it.
    pub fn stream_answer(&self) {
        // SAFETY: live upstream. A cached or stored answer needs its buffers.
        unsafe {
            if let Some(u) = (*self.raw).upstream.as_mut()
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
        // SAFETY: nginx calls content handlers with a live request.
        let request = unsafe { Request::borrow(r) };
        let Some(place) = request.location::<M::Location>() else {
            return failed;
        };
        // An `if` block without a handler may follow one that had one.
        let Some(content) = place.content().theirs.get() else {
            return failed;
        };
        if !place.needs_key() {
            // SAFETY: as above; `content` is the handler of this location.
            return unsafe { content(r) };
        }
        // Without a key of ours it is not called: it would send the client's token.
        match context::state(r) {
            Some(state) if state.authorization.borrow().is_some() => {
                // SAFETY: as above.
                unsafe { send_wrapped::<M>(request, state, content) }
            }
            Some(_) => failed,
            // A clone (a slice, the refresh of a cache) begins in this phase.
            None => through_precontent::<M>(r),
        }
    })
}

/// # Safety
/// A live request in its content phase, and the handler of its location.
unsafe fn send_wrapped<M: Wrapped>(
    request: Request<'_>,
    state: &State,
    content: unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t,
) -> ngx_int_t {
    let r = request.raw;
    // SAFETY: the body has been read, so the handler goes as far as
    // ngx_http_upstream_init, which does nothing while `aio` is set and the
    // connection's write event is active: that leaves the moment to wrap what it has
    // prepared. Then it is called again, to do its work.
    unsafe {
        if !activate_writing(r) || !reserve_state(r) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
        }
        // One may be left from before an internal redirect.
        let before = (*r).upstream;
        let redirects = (*r).uri_changes();
        (*r).set_aio(1);
        let rc = content(r);
        let held = (*r).aio() != 0;
        (*r).set_aio(0);
        let made = (*r).upstream;
        if (*r).uri_changes() != redirects {
            // The handler has sent the request to another location, which may have no
            // pool: then its upstream is still to be started.
            let needs_key = request
                .location::<M::Location>()
                .is_none_or(M::Location::needs_key);
            if held && made != before && rc == NGX_DONE as ngx_int_t && !needs_key {
                ngx_http_upstream_init(r);
            }
            ngx_post_event((*(*r).connection).write, &raw mut ngx_posted_events);
            return rc;
        }
        if made == before {
            // What `aio` has held back of an answer is sent.
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

/// Has the kernel tell when the client's connection can be written to, as
/// ngx_http_upstream_init does. There it may end the request, behind our back.
///
/// # Safety
/// `r` must be live.
unsafe fn activate_writing(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: the connection of a live request; a stream of HTTP/2 or HTTP/3 has one that
    // the kernel knows nothing of. The event is added once, as long as it is not active.
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

/// Makes room for the state of one more attempt. Where ngx_http_upstream_init cannot make it,
/// it takes the request for one that has been finalized before, and leaves it to hang.
///
/// # Safety
/// `r` must be live.
unsafe fn reserve_state(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: null before the first attempt, or an array in the request's pool. What is pushed
    // is taken back, and is the next that nginx pushes.
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

/// What becomes of a request whose handler has prepared no upstream: what the handler says,
/// if it has answered itself, has refused the request, or goes on with it later.
///
/// # Safety
/// `r` must be live.
unsafe fn own_answer(r: *mut ngx_http_request_t, rc: ngx_int_t) -> ngx_int_t {
    const DONE: ngx_int_t = NGX_DONE as ngx_int_t;
    const DECLINED: ngx_int_t = NGX_DECLINED as ngx_int_t;
    // SAFETY: the caller's.
    let answered = unsafe { (*r).header_sent() != 0 };
    match rc {
        _ if answered => rc,
        DONE | DECLINED | 200..=499 => rc,
        _ => NGX_HTTP_BAD_GATEWAY as ngx_int_t,
    }
}

/// Sends a request that begins in the content phase through PRECONTENT first.
fn through_precontent<M: Wrapped>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: live request; the caller finalizes with NGX_DONE, which gives back
    // the reference that is taken here.
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
        let state = context::state(r);
        let made =
            state.and_then(|h| Some((h.create_request.get()?, h.authorization.borrow().clone()?)));
        let Some((create, authorization)) = made else {
            return NGX_ERROR as ngx_int_t;
        };
        let rewrites = state.map(|h| h.rewrites.borrow().clone());
        let rewrites = rewrites.unwrap_or_default();
        let headers = state.and_then(|h| h.headers.borrow().clone());
        // SAFETY: live request whose upstream request is being made; `create` is
        // the handler that stood here before.
        unsafe {
            if let Some(state) = state
                && Request::borrow(r)
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

/// nginx is done with the upstream. Only after a whole answer (`rc` is zero) is
/// the connection of no use any more; else it is closed right after this.
unsafe extern "C" fn finalize_request_entry<M: Wrapped>(r: *mut ngx_http_request_t, rc: ngx_int_t) {
    guard((), || {
        if rc == NGX_OK as ngx_int_t {
            // SAFETY: live request, whose upstream nginx is about to give up.
            M::answer_complete(unsafe { Request::borrow(r) });
        }
        let state = context::state(r);
        if let Some(state) = state {
            // SAFETY: as above.
            unsafe { attempt::give_up::<M>(r, state, rc) };
        }
        let theirs = state
            .or_else(|| context::recall_state(r))
            .and_then(|h| h.finalize_request.get());
        if let Some(theirs) = theirs {
            // SAFETY: the handler that stood here before.
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
        // SAFETY: nginx calls it with the subrequest that ends, once or more.
        let request = unsafe { Request::borrow(r) };
        let state = context::state(r).or_else(|| context::recall_state(r));
        M::subrequest_done(request);
        match state.map(|h| h.subrequest.get()) {
            // SAFETY: the handler and data that the subrequest's maker had set.
            Some((Some(theirs), data)) => unsafe { theirs(r, data, rc) },
            _ => rc,
        }
    })
}

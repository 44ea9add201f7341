use std::rc::Rc;

use ngx::ffi::{
    NGX_DONE, NGX_ERROR, NGX_LOG_DEBUG_HTTP, NGX_OK, ngx_http_post_subrequest_t,
    ngx_http_request_t, ngx_http_upstream_init, ngx_http_upstream_t, ngx_int_t, ngx_list_part_t,
    ngx_palloc, ngx_str_t, ngx_table_elt_t,
};
use zeroize::Zeroizing;

use super::context;
use super::export::{HttpModule, the_module};
use super::guard;
use super::headers::{HeadersIn, is_named};
use super::request::Request;
use super::text::lent;

/// Marker: what a wrapped request tells its owner.
pub trait Wrapped: HttpModule {
    /// The upstream has given its whole answer; the client may not have it yet.
    fn answer_complete(request: Request<'_>);
    /// A subrequest is done; it has no log phase of its own.
    fn subrequest_done(request: Request<'_>);
}

impl Request<'_> {
    /// Has the location's own content handler (`proxy_pass`) send `authorization`
    /// in place of whatever credentials the client sent.
    ///
    /// The client's headers are as they were before and after: neither a log line
    /// nor a later location ever sees the value. `false` when the location has no
    /// handler that could send it.
    pub fn send_with<M: Wrapped>(&self, authorization: Rc<Zeroizing<Vec<u8>>>) -> bool {
        let Some(holder) = context::current::<M::Context>(self.raw, the_module::<M>()) else {
            return false;
        };
        let own: unsafe extern "C" fn(_) -> _ = content_entry::<M>;
        // SAFETY: live request; PRECONTENT comes after the location has set its
        // content handler and before it runs.
        unsafe {
            let theirs = (*self.raw).content_handler;
            if theirs.is_none() {
                return false;
            }
            if !theirs.is_some_and(|h| core::ptr::fn_addr_eq(h, own)) {
                holder.content.set(theirs);
            }
            (*self.raw).content_handler = Some(own);
        }
        *holder.authorization.borrow_mut() = Some(authorization);
        true
    }

    /// Has [`Wrapped::subrequest_done`] called at the end of a subrequest.
    pub fn tell_end<M: Wrapped>(&self) {
        let Some(holder) = context::current::<M::Context>(self.raw, the_module::<M>()) else {
            return;
        };
        let own: unsafe extern "C" fn(_, _, _) -> _ = subrequest_entry::<M>;
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
                holder.subrequest.set((theirs.handler, theirs.data));
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

/// The request's headers with the client's credentials left out and ours put in.
///
/// That lasts no longer than the making of the request to the upstream: whatever
/// nginx does next (connect, fail, redirect to another location) sees the
/// client's own headers, which are not touched.
struct Swapped {
    r: *mut ngx_http_request_t,
    theirs: ngx_list_part_t,
    /// What the request's header list consists of meanwhile.
    _ours: Vec<ngx_table_elt_t>,
    debug: usize,
}

impl Swapped {
    /// # Safety
    /// `r` must be live; nobody adds request headers until the value is dropped,
    /// which is before `authorization` is.
    unsafe fn new(r: *mut ngx_http_request_t, authorization: &[u8]) -> Self {
        // SAFETY: elements are copied, which nginx itself does with a subrequest's
        // header list; the list's first part is put back by Drop. nginx reads the
        // list when it creates the upstream request, which happens in between.
        unsafe {
            let secret = |h| is_named(h, b"authorization") || is_named(h, b"x-service-token");
            let kept = HeadersIn::of(r).filter(|&h| !secret(h)).map(|h| *h);
            let mut ours: Vec<ngx_table_elt_t> = Vec::with_capacity(16);
            ours.extend(kept);
            let mut element: ngx_table_elt_t = core::mem::zeroed();
            element.key = lent(b"Authorization");
            element.lowcase_key = lent(b"authorization").data;
            element.hash = AUTHORIZATION_HASH;
            element.value = ngx_str_t {
                len: authorization.len(),
                data: authorization.as_ptr().cast_mut(),
            };
            ours.push(element);
            let part = &raw mut (*r).headers_in.headers.part;
            let theirs = *part;
            *part = ngx_list_part_t {
                elts: ours.as_mut_ptr().cast(),
                nelts: ours.len(),
                next: core::ptr::null_mut(),
            };
            // A debug log would show the request to the upstream, with the key.
            let log = (*(*r).connection).log;
            let debug = (*log).log_level & NGX_LOG_DEBUG_HTTP as usize;
            (*log).log_level &= !debug;
            Self {
                r,
                theirs,
                _ours: ours,
                debug,
            }
        }
    }
}

impl Drop for Swapped {
    fn drop(&mut self) {
        // SAFETY: as in `new`.
        unsafe {
            (*self.r).headers_in.headers.part = self.theirs;
            (*(*(*self.r).connection).log).log_level |= self.debug;
        }
    }
}

/// ngx_hash_key("authorization"), by which proxy_set_header finds it.
const AUTHORIZATION_HASH: usize = {
    let name = b"authorization";
    let (mut hash, mut at) = (0usize, 0);
    while at < name.len() {
        hash = hash.wrapping_mul(31).wrapping_add(name[at] as usize);
        at += 1;
    }
    hash
};

unsafe extern "C" fn content_entry<M: Wrapped>(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        let holder = context::current::<M::Context>(r, the_module::<M>());
        let Some((holder, content)) = holder.and_then(|h| Some((h, h.content.get()?))) else {
            return NGX_ERROR as ngx_int_t;
        };
        // SAFETY: live request in its content phase; `content` is the handler that
        // the location had set. The body has been read, so the handler goes as far
        // as ngx_http_upstream_init, which does nothing while `aio` is set: that
        // leaves the moment to wrap what it has prepared. Then it is called again,
        // to do its work.
        unsafe {
            (*r).set_aio(1);
            let rc = content(r);
            (*r).set_aio(0);
            if rc != NGX_DONE as ngx_int_t {
                return rc;
            }
            if let Some(upstream) = (*r).upstream.as_mut() {
                holder.create_request.set(upstream.create_request);
                upstream.create_request = Some(create_request_entry::<M>);
                holder.finalize_request.set(upstream.finalize_request);
                upstream.finalize_request = Some(finalize_request_entry::<M>);
                ngx_http_upstream_init(r);
            }
            rc
        }
    })
}

unsafe extern "C" fn create_request_entry<M: Wrapped>(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        let holder = context::current::<M::Context>(r, the_module::<M>());
        let made =
            holder.and_then(|h| Some((h.create_request.get()?, h.authorization.borrow().clone()?)));
        let Some((create, authorization)) = made else {
            return NGX_ERROR as ngx_int_t;
        };
        // SAFETY: live request whose upstream request is being made; `create` is
        // the handler that stood here before.
        unsafe {
            let _swapped = Swapped::new(r, &authorization);
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
        let holder = context::current::<M::Context>(r, the_module::<M>());
        let theirs = holder
            .or_else(|| context::recall(r))
            .and_then(|h| h.finalize_request.get());
        if let Some(theirs) = theirs {
            // SAFETY: the handler that stood here before.
            unsafe { theirs(r, rc) }
        }
    });
}

unsafe extern "C" fn subrequest_entry<M: Wrapped>(
    r: *mut ngx_http_request_t,
    _data: *mut core::ffi::c_void,
    rc: ngx_int_t,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx calls it with the subrequest that ends, once or more.
        let request = unsafe { Request::borrow(r) };
        let holder =
            context::current::<M::Context>(r, the_module::<M>()).or_else(|| context::recall(r));
        M::subrequest_done(request);
        match holder.map(|h| h.subrequest.get()) {
            // SAFETY: the handler and data that the subrequest's maker had set.
            Some((Some(theirs), data)) => unsafe { theirs(r, data, rc) },
            _ => rc,
        }
    })
}

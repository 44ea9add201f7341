use core::cell::RefCell;
use core::ffi::c_void;
use core::ptr::NonNull;
use std::rc::Rc;

use ngx::ffi::{
    ngx_http_event_handler_pt, ngx_http_post_subrequest_pt, ngx_http_request_t, ngx_int_t,
    ngx_module_t, ngx_pool_cleanup_add,
};
use slotmap::{DefaultKey, Key, KeyData, SlotMap};
use zeroize::Zeroizing;

use super::attempt::Hooks;
use super::guard;
use super::headers::SentHeaders;
use super::request::Request;
use super::rewrite::Rewrite;

thread_local! {
    /// The requests of this worker that have a context. What outlives a call into
    /// nginx (a timer, a place in a queue) names a request by its token, and finds
    /// nothing once the request is gone.
    static LIVE: RefCell<SlotMap<DefaultKey, NonNull<ngx_http_request_t>>> =
        RefCell::new(SlotMap::new());
}

/// Names a request for as long as it lives, and nothing after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

impl Token {
    pub fn number(self) -> u64 {
        self.0
    }

    pub fn of(number: u64) -> Self {
        Self(number)
    }

    /// Calls `run` with the request, if it is still there.
    pub fn with<T>(self, run: impl FnOnce(Request<'_>) -> T) -> Option<T> {
        let key = DefaultKey::from(KeyData::from_ffi(self.0));
        let found = LIVE.with_borrow(|live| live.get(key).copied())?;
        // SAFETY: the pool cleanup below takes the entry out before nginx frees
        // the request's memory.
        Some(run(unsafe { Request::borrow(found.as_ptr()) }))
    }
}

/// A context as it lies in the request's pool.
///
/// A pool cleanup owns it, not `r->cleanup`: nginx runs the latter before the log
/// phase. Internal redirects zero `r->ctx`; the cleanup list still leads here.
pub(crate) struct Holder<T> {
    request: *mut ngx_http_request_t,
    pub(crate) token: Token,
    pub(crate) rewrites: RefCell<Vec<Rewrite>>,
    pub(crate) authorization: RefCell<Option<Rc<Zeroizing<Vec<u8>>>>>,
    pub(crate) headers: RefCell<Option<Rc<SentHeaders>>>,
    pub(crate) create_request: core::cell::Cell<CreateRequest>,
    pub(crate) finalize_request: core::cell::Cell<FinalizeRequest>,
    pub(crate) hooks: Hooks,
    pub(crate) read_handler: core::cell::Cell<ngx_http_event_handler_pt>,
    pub(crate) subrequest: core::cell::Cell<(ngx_http_post_subrequest_pt, *mut c_void)>,
    pub(crate) value: T,
}

pub(crate) type CreateRequest = Option<unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t>;

pub(crate) type FinalizeRequest = Option<unsafe extern "C" fn(*mut ngx_http_request_t, ngx_int_t)>;

fn slot<'a>(r: *mut ngx_http_request_t, module: &ngx_module_t) -> &'a mut *mut c_void {
    // SAFETY: nginx gives every request an array with a place for each HTTP module.
    unsafe { &mut *(*r).ctx.add(module.ctx_index) }
}

/// The context that `r` has in this pass through the phases.
pub(crate) fn current<'a, T>(
    r: *mut ngx_http_request_t,
    module: &ngx_module_t,
) -> Option<&'a Holder<T>> {
    // SAFETY: the place is null or holds what `attach` put there; only shared
    // references to a Holder are ever made.
    unsafe { slot(r, module).cast::<Holder<T>>().as_ref() }
}

/// The context that `r` had before an internal redirect.
pub(crate) fn recall<'a, T: 'static>(r: *mut ngx_http_request_t) -> Option<&'a Holder<T>> {
    // SAFETY: walks the request's own cleanup list; an entry with our handler has
    // a Holder<T> as its data. Subrequests share the pool of their main request,
    // hence the comparison.
    unsafe {
        let mut entry = (*(*r).pool).cleanup;
        while !entry.is_null() {
            if (*entry)
                .handler
                .is_some_and(|h| core::ptr::fn_addr_eq(h, drop_entry::<T> as Drop))
            {
                let holder = (*entry).data.cast::<Holder<T>>();
                if (*holder).request == r {
                    return Some(&*holder);
                }
            }
            entry = (*entry).next;
        }
    }
    None
}

/// Puts the context that `r` had before an internal redirect back in its place.
pub(crate) fn adopt<'a, T: 'static>(
    r: *mut ngx_http_request_t,
    module: &ngx_module_t,
) -> Option<&'a Holder<T>> {
    let holder = recall::<T>(r)?;
    *slot(r, module) = core::ptr::from_ref(holder).cast_mut().cast();
    Some(holder)
}

/// Gives `r` a context; `None` when memory is short.
pub(crate) fn attach<'a, T: 'static>(
    r: *mut ngx_http_request_t,
    module: &ngx_module_t,
    make: impl FnOnce(Token) -> T,
) -> Option<&'a Holder<T>> {
    const { assert!(align_of::<Holder<T>>() <= ngx::ffi::NGX_ALIGNMENT) };
    let request = NonNull::new(r)?;
    // SAFETY: the request's pool is alive; the cleanup's data has the size asked
    // for and the alignment checked above, and is written before it is used.
    unsafe {
        let cleanup = ngx_pool_cleanup_add((*r).pool, size_of::<Holder<T>>());
        let cleanup = cleanup.as_mut()?;
        let holder = cleanup.data.cast::<Holder<T>>();
        let key = LIVE.with_borrow_mut(|live| live.insert(request));
        let token = Token(key.data().as_ffi());
        holder.write(Holder {
            request: r,
            token,
            rewrites: Default::default(),
            authorization: Default::default(),
            headers: Default::default(),
            create_request: Default::default(),
            finalize_request: Default::default(),
            hooks: Hooks::default(),
            read_handler: Default::default(),
            subrequest: core::cell::Cell::new((None, core::ptr::null_mut())),
            value: make(token),
        });
        cleanup.handler = Some(drop_entry::<T>);
        *slot(r, module) = holder.cast();
        Some(&*holder)
    }
}

type Drop = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" fn drop_entry<T>(data: *mut c_void) {
    guard((), || {
        let holder = data.cast::<Holder<T>>();
        // SAFETY: runs once, when nginx destroys the pool, after the log phase.
        unsafe {
            let key = DefaultKey::from(KeyData::from_ffi((*holder).token.0));
            LIVE.with_borrow_mut(|live| live.remove(key));
            core::ptr::drop_in_place(holder);
        }
    });
}

use core::any::TypeId;
use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::ptr::NonNull;
use std::rc::Rc;

use ngx::ffi::{
    ngx_http_event_handler_pt, ngx_http_post_subrequest_pt, ngx_http_request_t, ngx_int_t,
    ngx_pool_cleanup_add,
};
use slotmap::{DefaultKey, Key, KeyData, SlotMap};
use zeroize::Zeroizing;

use crate::config::registered;
use crate::guard;
use crate::request::handle::Request;
use crate::request::headers::SentHeaders;
use crate::upstream::attempt::Hooks;
use crate::upstream::rewrite::Rewrite;

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
    /// The token as a number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The token that has this number; one that names no request finds none.
    pub fn of(number: u64) -> Self {
        Self(number)
    }

    /// Calls `run` with the request, if it is still there.
    pub fn with<T>(self, run: impl FnOnce(Request<'_>) -> T) -> Option<T> {
        let found = self.find()?;
        // SAFETY: `find` has just found it; no call that is lent a request frees it.
        Some(run(unsafe { Request::borrow(found.as_ptr()) }))
    }

    /// The request, if it is still there: the pool cleanup below takes the entry out before
    /// nginx frees the request's memory.
    pub(crate) fn find(self) -> Option<NonNull<ngx_http_request_t>> {
        LIVE.with_borrow(|live| live.get(self.key()).copied())
    }

    fn key(self) -> DefaultKey {
        DefaultKey::from(KeyData::from_ffi(self.0))
    }
}

/// A context as it lies in the request's pool, behind what this crate notes of the request.
///
/// A pool cleanup owns it, not `r->cleanup`: nginx runs the latter before the log
/// phase. Internal redirects zero `r->ctx`; the cleanup list still leads here.
#[repr(C)]
struct StoredContext<T> {
    state: State,
    value: T,
}

/// What every holder begins with: whose it is, what it holds, and what is noted of its
/// request.
pub(crate) struct State {
    request: *mut ngx_http_request_t,
    token: Token,
    kind: TypeId,
    drop: unsafe fn(*mut c_void),
    pub(crate) rewrites: RefCell<Vec<Rewrite>>,
    pub(crate) authorization: RefCell<Option<Rc<Zeroizing<Vec<u8>>>>>,
    pub(crate) headers: RefCell<Option<Rc<SentHeaders>>>,
    pub(crate) create_request: Cell<CreateRequest>,
    pub(crate) finalize_request: Cell<FinalizeRequest>,
    pub(crate) hooks: Hooks,
    pub(crate) read_handler: Cell<ngx_http_event_handler_pt>,
    pub(crate) subrequest: Cell<(ngx_http_post_subrequest_pt, *mut c_void)>,
}

pub(crate) type CreateRequest = Option<unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t>;

pub(crate) type FinalizeRequest = Option<unsafe extern "C" fn(*mut ngx_http_request_t, ngx_int_t)>;

/// The place for the module's context: to be read and written only at once, as nginx clears
/// it at an internal redirect.
///
/// # Safety
/// `r` must be live.
unsafe fn slot(r: *mut ngx_http_request_t) -> *mut *mut c_void {
    // SAFETY: nginx gives every request an array with a place for each HTTP module.
    unsafe { (*r).ctx.add(registered::position()) }
}

/// What the holder at `place` begins with.
///
/// # Safety
/// A holder of any kind that lives for `'a`, or null.
unsafe fn state_at<'a>(place: *const c_void) -> Option<&'a State> {
    // SAFETY: the caller's; only shared references to a holder are ever made.
    unsafe { place.cast::<State>().as_ref() }
}

/// The context in the holder at `place`, if it is of this type.
///
/// # Safety
/// As for [`state_at`].
unsafe fn value_at<'a, T: 'static>(place: *const c_void) -> Option<&'a T> {
    // SAFETY: the caller's; the state tells the type of the holder.
    unsafe {
        if state_at(place)?.kind != TypeId::of::<T>() {
            return None;
        }
        Some(&(*place.cast::<StoredContext<T>>()).value)
    }
}

/// What is noted of `r` in this pass through the phases.
pub(crate) fn state<'a>(r: *mut ngx_http_request_t) -> Option<&'a State> {
    // SAFETY: live request; the place is null or holds what `attach` put there.
    unsafe { state_at(*slot(r)) }
}

/// The context that `r` has in this pass through the phases.
pub(crate) fn current<'a, T: 'static>(r: *mut ngx_http_request_t) -> Option<&'a T> {
    // SAFETY: as for `state`.
    unsafe { value_at(*slot(r)) }
}

/// The holder that `r` had before an internal redirect; null if there is none.
fn find(r: *mut ngx_http_request_t) -> *mut c_void {
    // SAFETY: walks the request's own cleanup list; an entry with our handler has
    // a holder as its data. Subrequests share the pool of their main request, hence
    // the comparison of requests.
    unsafe {
        let mut entry = (*(*r).pool).cleanup;
        while !entry.is_null() {
            if (*entry)
                .handler
                .is_some_and(|h| core::ptr::fn_addr_eq(h, CLEANUP))
                && state_at((*entry).data).is_some_and(|state| state.request == r)
            {
                return (*entry).data;
            }
            entry = (*entry).next;
        }
    }
    core::ptr::null_mut()
}

/// What was noted of `r` before an internal redirect.
pub(crate) fn recall_state<'a>(r: *mut ngx_http_request_t) -> Option<&'a State> {
    // SAFETY: null or a holder of the request's.
    unsafe { state_at(find(r)) }
}

/// The context that `r` had before an internal redirect.
pub(crate) fn recall<'a, T: 'static>(r: *mut ngx_http_request_t) -> Option<&'a T> {
    // SAFETY: as for `recall_state`.
    unsafe { value_at(find(r)) }
}

/// Puts the context that `r` had before an internal redirect back in its place.
pub(crate) fn adopt<'a, T: 'static>(r: *mut ngx_http_request_t) -> Option<&'a T> {
    let holder = find(r);
    // SAFETY: as for `recall_state`; live request.
    unsafe {
        let value = value_at(holder)?;
        *slot(r) = holder;
        Some(value)
    }
}

/// An entry of [`LIVE`] that no pool cleanup removes yet. Dropping it removes it: also when
/// the context cannot be made.
struct Entry(DefaultKey);

impl Drop for Entry {
    fn drop(&mut self) {
        LIVE.with_borrow_mut(|live| live.remove(self.0));
    }
}

/// Gives `r` a context; `None` when memory is short.
pub(crate) fn attach<'a, T: 'static>(
    r: *mut ngx_http_request_t,
    make: impl FnOnce(Token) -> T,
) -> Option<&'a T> {
    const { assert!(align_of::<StoredContext<T>>() <= ngx::ffi::NGX_ALIGNMENT) };
    let request = NonNull::new(r)?;
    let entry = Entry(LIVE.with_borrow_mut(|live| live.insert(request)));
    let token = Token(entry.0.data().as_ffi());
    let value = make(token);
    // SAFETY: the pool of a live request. ngx_pool_cleanup_add returns null or an entry whose
    // data has the size asked for and is aligned to NGX_ALIGNMENT, which is checked above. The
    // data is written before the entry has a handler.
    unsafe {
        let cleanup = ngx_pool_cleanup_add((*r).pool, size_of::<StoredContext<T>>());
        if cleanup.is_null() {
            return None;
        }
        let holder = (*cleanup).data.cast::<StoredContext<T>>();
        holder.write(StoredContext {
            state: State {
                request: r,
                token,
                kind: TypeId::of::<T>(),
                drop: drop_holder::<T>,
                rewrites: Default::default(),
                authorization: Default::default(),
                headers: Default::default(),
                create_request: Default::default(),
                finalize_request: Default::default(),
                hooks: Hooks::default(),
                read_handler: Default::default(),
                subrequest: Cell::new((None, core::ptr::null_mut())),
            },
            value,
        });
        (*cleanup).handler = Some(CLEANUP);
        // From here on the cleanup removes the entry.
        core::mem::forget(entry);
        *slot(r) = holder.cast();
        Some(&(*holder).value)
    }
}

/// By its address the cleanups of holders are known among those of a pool: so it is taken
/// once, here.
static CLEANUP: unsafe extern "C" fn(*mut c_void) = cleanup_entry;

unsafe extern "C" fn cleanup_entry(data: *mut c_void) {
    guard((), || {
        // SAFETY: runs once, when nginx destroys the pool, after the log phase; the data is
        // a holder, and its state names what drops one of its kind.
        unsafe {
            let state = data.cast::<State>();
            LIVE.with_borrow_mut(|live| live.remove((*state).token.key()));
            ((*state).drop)(data);
        }
    });
}

/// # Safety
/// A `StoredContext<T>`, which is not used after.
unsafe fn drop_holder<T>(holder: *mut c_void) {
    // SAFETY: the caller's.
    unsafe { core::ptr::drop_in_place(holder.cast::<StoredContext<T>>()) }
}

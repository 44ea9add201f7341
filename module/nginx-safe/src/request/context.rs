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
use crate::filter::edit::Editor;
use crate::guard;
use crate::request::handle::Request;
use crate::request::headers::SentHeaders;
use crate::upstream::attempt::Hooks;
use crate::upstream::rewrite::Rewrite;

thread_local! {
    /// The requests of this worker that have a context. Whatever outlives a call from nginx (a
    /// timer, an entry in a queue) refers to a request by its token, which finds nothing after the
    /// request has been freed.
    static LIVE: RefCell<SlotMap<DefaultKey, NonNull<ngx_http_request_t>>> =
        RefCell::new(SlotMap::new());
    /// How many calls of [`Token::with`] are in progress.
    static BORROWED: Cell<usize> = const { Cell::new(0) };
}

/// A reference to a request by number. It finds nothing after the request has been freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

/// Whether a request is borrowed that nginx has not passed to the present callback.
pub(crate) fn is_borrowed() -> bool {
    BORROWED.get() > 0
}

struct Borrow;

impl Borrow {
    fn new() -> Self {
        BORROWED.set(BORROWED.get() + 1);
        Self
    }
}

impl Drop for Borrow {
    fn drop(&mut self) {
        BORROWED.set(BORROWED.get() - 1);
    }
}

impl Token {
    /// The token as a number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The token with this number. If there is no such request, it finds nothing.
    pub fn of(number: u64) -> Self {
        Self(number)
    }

    /// Calls `run` with the request; `None` if the request has been freed.
    pub fn with<T>(self, run: impl FnOnce(Request<'_>) -> T) -> Option<T> {
        let found = self.find()?;
        let _borrow = Borrow::new();
        // SAFETY: `find` has just found the request. nginx destroys it only if this code ends it
        // (Call), and no safe function ends a request during a call that borrows it: those that let
        // nginx end other requests fail while `Borrow` exists.
        Some(run(unsafe { Request::borrow(found.as_ptr()) }))
    }

    /// The request, unless it has been freed: [`cleanup_entry`] removes it from [`LIVE`] before
    /// nginx frees its memory. `None` also while the pool of the request runs its cleanups.
    pub(crate) fn find(self) -> Option<NonNull<ngx_http_request_t>> {
        let found = LIVE.with_borrow(|live| live.get(self.key()).copied())?;
        // SAFETY: `cleanup_entry` removes an entry of LIVE before nginx frees the request, so it is
        // live, and so is its main request, which owns the pool of both. ngx_http_free_request sets
        // `pool` of the main request to null before it destroys the pool (Pool).
        let pool = unsafe { (*(*found.as_ptr()).main).pool };
        (!pool.is_null()).then_some(found)
    }

    fn key(self) -> DefaultKey {
        DefaultKey::from(KeyData::from_ffi(self.0))
    }
}

/// A context in the pool of its request, after the state that this crate keeps for the request.
///
/// A pool cleanup owns it, not an entry of `r->cleanup`, because nginx runs the latter before the
/// LOG phase. An internal redirect clears `r->ctx`; [`find`] then looks for the context in the list
/// of cleanups.
#[repr(C)]
struct StoredContext<T> {
    state: RequestState,
    value: T,
}

/// The first field of each [`StoredContext`], whatever its type: the state that this crate keeps
/// for a request.
pub(crate) struct RequestState {
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
    pub(crate) editor: RefCell<Option<Rc<Editor>>>,
    pub(crate) read_handler: Cell<ngx_http_event_handler_pt>,
    pub(crate) subrequest: Cell<(ngx_http_post_subrequest_pt, *mut c_void)>,
}

pub(crate) type CreateRequest = Option<unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t>;

pub(crate) type FinalizeRequest = Option<unsafe extern "C" fn(*mut ngx_http_request_t, ngx_int_t)>;

/// The position of the module's context in `r->ctx`. Read or write it at once: nginx clears it at
/// an internal redirect.
///
/// # Safety
/// `r` must be live.
unsafe fn slot(r: *mut ngx_http_request_t) -> *mut *mut c_void {
    // SAFETY: the caller guarantees that the request is live. nginx allocates `ctx` with the
    // request, with an entry for each HTTP module (Request).
    unsafe { (*r).ctx.add(registered::position()) }
}

/// The state of the [`StoredContext`] at `place`; `None` if that is null.
///
/// # Safety
/// `place` must be null, or a `StoredContext` of any type that lives for `'a`.
unsafe fn state_at<'a>(place: *const c_void) -> Option<&'a RequestState> {
    // SAFETY: the caller guarantees a stored context, which is in a pool that has not been
    // destroyed (Pool). The state is the first field of a `repr(C)` struct, and only shared
    // references to a stored context are made.
    unsafe { place.cast::<RequestState>().as_ref() }
}

/// The context at `place`, if it is of type `T`.
///
/// # Safety
/// As for [`state_at`].
unsafe fn value_at<'a, T: 'static>(place: *const c_void) -> Option<&'a T> {
    // SAFETY: the caller guarantees a stored context, which is in a pool that has not been
    // destroyed (Pool). The cast is correct because `kind` is checked.
    unsafe {
        if state_at(place)?.kind != TypeId::of::<T>() {
            return None;
        }
        Some(&(*place.cast::<StoredContext<T>>()).value)
    }
}

/// The state of a request, unless an internal redirect has cleared it.
pub(crate) fn state<'a>(request: Request<'a>) -> Option<&'a RequestState> {
    // SAFETY: a `Request` is live for `'a` (see `Request`). The entry is null, as nginx zeroes
    // `ctx`, or what `attach` has stored in the pool of the request (Request, Pool).
    unsafe { state_at(*slot(request.raw)) }
}

/// The context of a request, unless an internal redirect has cleared it.
pub(crate) fn current<'a, T: 'static>(request: Request<'a>) -> Option<&'a T> {
    // SAFETY: a `Request` is live for `'a` (see `Request`). The entry is null, as nginx zeroes
    // `ctx`, or what `attach` has stored in the pool of the request (Request, Pool).
    unsafe { value_at(*slot(request.raw)) }
}

/// The stored context of a request, found in the pool's list of cleanups, so that an internal
/// redirect does not matter. Null if there is none.
fn find(request: Request<'_>) -> *mut c_void {
    let r = request.raw;
    // SAFETY: a `Request` is live, and so is its pool, whose list of cleanups ends with null
    // (Request, Pool). A cleanup with this handler has a stored context as its data. A subrequest
    // shares the pool of its main request, so the request must be compared.
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

/// The state of a request, also after an internal redirect has cleared it.
pub(crate) fn recall_state<'a>(request: Request<'a>) -> Option<&'a RequestState> {
    // SAFETY: `find` returns null, or a stored context in the pool of the request, which is live
    // for `'a` (Request, Pool).
    unsafe { state_at(find(request)) }
}

/// The context of a request, also after an internal redirect has cleared it.
pub(crate) fn recall<'a, T: 'static>(request: Request<'a>) -> Option<&'a T> {
    // SAFETY: `find` returns null, or a stored context in the pool of the request, which is live
    // for `'a` (Request, Pool).
    unsafe { value_at(find(request)) }
}

/// Restores the context of a request after an internal redirect has cleared it.
pub(crate) fn adopt<'a, T: 'static>(request: Request<'a>) -> Option<&'a T> {
    let holder = find(request);
    // SAFETY: `find` returns null, or a stored context in the pool of the request, which is live
    // for `'a` (Request, Pool). So is its `ctx`.
    unsafe {
        let value = value_at(holder)?;
        *slot(request.raw) = holder;
        Some(value)
    }
}

/// An entry of [`LIVE`] that no pool cleanup will remove yet. Dropping it removes the entry, for
/// the case that the context cannot be made.
struct Entry(DefaultKey);

impl Drop for Entry {
    fn drop(&mut self) {
        LIVE.with_borrow_mut(|live| live.remove(self.0));
    }
}

/// Makes a context for a request. `None` if memory runs out.
pub(crate) fn attach<'a, T: 'static>(
    request: Request<'a>,
    make: impl FnOnce(Token) -> T,
) -> Option<&'a T> {
    const { assert!(align_of::<StoredContext<T>>() <= ngx::ffi::NGX_ALIGNMENT) };
    let r = request.raw;
    let live = NonNull::new(r)?;
    let entry = Entry(LIVE.with_borrow_mut(|all| all.insert(live)));
    let token = Token(entry.0.data().as_ffi());
    let value = make(token);
    // SAFETY: a `Request` is live, and so is its pool (Request). ngx_pool_cleanup_add returns null,
    // or an entry whose data has the requested size and is aligned to NGX_ALIGNMENT, which is
    // checked above. The data is written before the handler is set.
    unsafe {
        let cleanup = ngx_pool_cleanup_add((*r).pool, size_of::<StoredContext<T>>());
        if cleanup.is_null() {
            return None;
        }
        let holder = (*cleanup).data.cast::<StoredContext<T>>();
        holder.write(StoredContext {
            state: RequestState {
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
                editor: Default::default(),
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

/// Identifies the cleanups of stored contexts by its address. A static, because a function may have
/// several addresses.
static CLEANUP: unsafe extern "C" fn(*mut c_void) = cleanup_entry;

unsafe extern "C" fn cleanup_entry(data: *mut c_void) {
    guard((), || {
        // SAFETY: a pool runs each cleanup once, when it is destroyed, and frees its memory
        // afterwards (Pool). The data is a stored context, and its `drop` is for the type of that.
        unsafe {
            let state = data.cast::<RequestState>();
            LIVE.with_borrow_mut(|live| live.remove((*state).token.key()));
            ((*state).drop)(data);
        }
    });
}

/// # Safety
/// `holder` must be a live `StoredContext<T>`, and not be used afterwards.
unsafe fn drop_holder<T>(holder: *mut c_void) {
    // SAFETY: the caller guarantees a stored context of this type, which is in a pool that is being
    // destroyed and has not freed its memory yet (Pool).
    unsafe { core::ptr::drop_in_place(holder.cast::<StoredContext<T>>()) }
}

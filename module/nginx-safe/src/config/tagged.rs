//! Configurations behind nginx's untyped pointers, with their Rust type.

use core::any::TypeId;
use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use ngx::ffi::{ngx_http_handler_pt, ngx_pool_t};

use crate::text::keep_in;

/// A configuration and what this crate stores with it.
#[repr(C)]
pub(crate) struct Tagged<T> {
    notes: Notes,
    value: T,
}

/// The first field of each configuration, whatever its type.
pub(crate) struct Notes {
    kind: TypeId,
    /// The content handler set by the location's own directive (`proxy_pass`).
    pub(crate) handler: Cell<ngx_http_handler_pt>,
}

/// Allocates a configuration with its default value; null if memory runs out.
///
/// # Safety
/// `pool` must be live. The pool drops the configuration when it is destroyed.
pub(crate) unsafe fn make<T: Default + 'static>(pool: *mut ngx_pool_t) -> *mut c_void {
    let made = Tagged {
        notes: Notes {
            kind: TypeId::of::<T>(),
            handler: Cell::new(None),
        },
        value: T::default(),
    };
    // SAFETY: the caller guarantees that the pool is live; the value stays in it until the pool is
    // destroyed (Pool).
    let kept = unsafe { keep_in(pool, made) };
    kept.map_or(ptr::null_mut(), |kept| kept.as_ptr().cast())
}

/// The configuration at `place`, if it is of type `T`.
///
/// # Safety
/// `place` must be null, or made by [`make`] for any type and not yet dropped.
pub(crate) unsafe fn find<T: 'static>(place: *mut c_void) -> Option<NonNull<T>> {
    let tagged = place.cast::<Tagged<T>>();
    // SAFETY: the caller guarantees that `place` is null or made by `make`, whose value is in a
    // pool that has not been destroyed (Pool). The cast is correct because `kind` is checked.
    unsafe {
        if notes(place)?.kind != TypeId::of::<T>() {
            return None;
        }
        NonNull::new(&raw mut (*tagged).value)
    }
}

/// The notes of the configuration at `place`; `None` if that is null.
///
/// # Safety
/// As for [`find`], for `'a`.
pub(crate) unsafe fn notes<'a>(place: *const c_void) -> Option<&'a Notes> {
    // SAFETY: the caller guarantees that `place` is null or made by `make`, whose value is in a
    // pool that has not been destroyed (Pool). The notes are the first field of a `repr(C)` struct,
    // and only shared references to them are made.
    unsafe { place.cast::<Notes>().as_ref() }
}

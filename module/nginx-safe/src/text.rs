//! Values and texts in nginx's pools.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::slice;

use ngx::ffi::{ngx_pnalloc, ngx_pool_cleanup_add, ngx_pool_t, ngx_str_t};

use crate::guard;

/// The bytes of an nginx string.
///
/// # Safety
/// If it is not empty, `data` must point to `len` initialised bytes that outlive the reference.
pub unsafe fn bytes_of(text: &ngx_str_t) -> &[u8] {
    if text.len == 0 || text.data.is_null() {
        return &[];
    }
    // SAFETY: the caller guarantees the bytes.
    unsafe { slice::from_raw_parts(text.data, text.len) }
}

/// Moves a value into a pool, which drops it when the pool is destroyed. `None` if memory runs out.
///
/// # Safety
/// `pool` must be a live pool.
pub(crate) unsafe fn keep_in<T: 'static>(pool: *mut ngx_pool_t, value: T) -> Option<NonNull<T>> {
    const { assert!(align_of::<T>() <= ngx::ffi::NGX_ALIGNMENT) };
    // SAFETY: the caller guarantees the pool. ngx_pool_cleanup_add returns null, or an entry
    // without a handler (Pool). Its data has the requested size, which must not be zero, and is
    // aligned to NGX_ALIGNMENT.
    unsafe {
        let cleanup = ngx_pool_cleanup_add(pool, size_of::<T>().max(1)).as_mut()?;
        let place = cleanup.data.cast::<T>();
        place.write(value);
        cleanup.handler = Some(drop_kept::<T>);
        NonNull::new(place)
    }
}

unsafe extern "C" fn drop_kept<T>(place: *mut c_void) {
    // SAFETY: `keep_in` has written the value. A pool runs each cleanup once, before it frees its
    // memory (Pool).
    guard((), || unsafe { ptr::drop_in_place(place.cast::<T>()) });
}

/// Copies `bytes` into a pool. `None` if memory runs out.
///
/// # Safety
/// `pool` must be a live pool.
pub(crate) unsafe fn copy_into(pool: *mut ngx_pool_t, bytes: &[u8]) -> Option<ngx_str_t> {
    // SAFETY: the caller guarantees the pool. ngx_pnalloc returns null or a new block of this size
    // in it (Pool).
    unsafe {
        let data = ngx_pnalloc(pool, bytes.len().max(1)).cast::<u8>();
        if data.is_null() {
            return None;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        Some(ngx_str_t {
            len: bytes.len(),
            data,
        })
    }
}

/// An nginx string that refers to static bytes.
pub(crate) fn lent(bytes: &'static [u8]) -> ngx_str_t {
    ngx_str_t {
        len: bytes.len(),
        data: bytes.as_ptr().cast_mut(),
    }
}

use core::slice;

use ngx::ffi::{ngx_pnalloc, ngx_pool_t, ngx_str_t};

/// The bytes of an nginx string, which nginx keeps for as long as its owner.
pub fn bytes_of(text: &ngx_str_t) -> &[u8] {
    if text.len == 0 || text.data.is_null() {
        return &[];
    }
    // SAFETY: a non-empty ngx_str_t points at `len` initialised bytes that live
    // as long as the structure that holds it.
    unsafe { slice::from_raw_parts(text.data, text.len) }
}

/// A copy of `bytes` in a pool; `None` when memory is short.
///
/// # Safety
/// `pool` must be a live pool.
pub(crate) unsafe fn copy_into(pool: *mut ngx_pool_t, bytes: &[u8]) -> Option<ngx_str_t> {
    // SAFETY: the caller vouches for the pool; the new block has room for `bytes`.
    unsafe {
        let data = ngx_pnalloc(pool, bytes.len().max(1)).cast::<u8>();
        if data.is_null() {
            return None;
        }
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        Some(ngx_str_t {
            len: bytes.len(),
            data,
        })
    }
}

/// An nginx string over bytes that outlive every use of it.
pub(crate) fn lent(bytes: &'static [u8]) -> ngx_str_t {
    ngx_str_t {
        len: bytes.len(),
        data: bytes.as_ptr().cast_mut(),
    }
}

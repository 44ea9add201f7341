//! What tests need of nginx: it has not been started, but its pools and mutexes work.

use core::mem;
use core::ptr;
use std::sync::Once;

use ngx::ffi::{
    ngx_create_pool, ngx_cycle, ngx_cycle_t, ngx_destroy_pool, ngx_http_request_t, ngx_log_t,
    ngx_pagesize, ngx_pagesize_shift, ngx_palloc, ngx_pcalloc, ngx_pool_t, ngx_slab_sizes_init,
    ngx_time_init,
};

/// How many HTTP modules a request has a place for.
pub(crate) const MODULES: usize = 4;

/// Does what nginx does first at its start.
pub(crate) fn set_up() {
    static DONE: Once = Once::new();
    // SAFETY: nothing else of nginx runs before, and these are its own steps.
    DONE.call_once(|| unsafe {
        ngx_pagesize = libc::sysconf(libc::_SC_PAGESIZE) as usize;
        ngx_pagesize_shift = ngx_pagesize.trailing_zeros() as usize;
        ngx_time_init();
        ngx_slab_sizes_init();
        let cycle: &'static mut ngx_cycle_t = Box::leak(Box::new(mem::zeroed()));
        cycle.log = log();
        ngx_cycle = cycle;
    });
}

/// A log that takes nothing, and lives as long as the program.
fn log() -> *mut ngx_log_t {
    // SAFETY: zeros are a log of no level.
    unsafe { Box::leak(Box::new(mem::zeroed())) }
}

/// A pool, and what comes of it.
pub(crate) struct TestPool(pub(crate) *mut ngx_pool_t);

impl TestPool {
    pub(crate) fn new() -> Self {
        set_up();
        // SAFETY: the log outlives the pool.
        let pool = unsafe { ngx_create_pool(4096, log()) };
        assert!(!pool.is_null());
        Self(pool)
    }

    /// So many bytes, as nginx allocates them.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> *mut u8 {
        // SAFETY: a live pool; the piece is as long as `bytes`.
        unsafe {
            let place = ngx_palloc(self.0, bytes.len()).cast::<u8>();
            ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
            place
        }
    }

    /// Zeros, which are a valid record of C.
    pub(crate) fn zeros<T>(&self) -> *mut T {
        // SAFETY: a live pool.
        unsafe { ngx_pcalloc(self.0, size_of::<T>()).cast() }
    }

    /// A request without anything.
    pub(crate) fn request(&self) -> *mut ngx_http_request_t {
        let r = self.zeros::<ngx_http_request_t>();
        // SAFETY: a fresh record.
        unsafe {
            (*r).pool = self.0;
            (*r).main = r;
            (*r).ctx = self.zeros::<[*mut core::ffi::c_void; MODULES]>().cast();
        }
        r
    }
}

impl Drop for TestPool {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and nobody has it after this.
        unsafe { ngx_destroy_pool(self.0) }
    }
}

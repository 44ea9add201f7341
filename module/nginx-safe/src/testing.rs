//! Parts of nginx for tests. nginx has not been started, but its pools and mutexes work.

use core::mem;
use core::ptr;
use std::sync::Once;

use ngx::ffi::{
    ngx_create_pool, ngx_cycle, ngx_cycle_t, ngx_destroy_pool, ngx_http_request_t, ngx_log_t,
    ngx_pagesize, ngx_pagesize_shift, ngx_palloc, ngx_pcalloc, ngx_pid, ngx_pool_t,
    ngx_slab_sizes_init, ngx_time_init,
};

use crate::process::{self, ThreadStage};

/// The number of entries for HTTP modules in `ctx` of a request.
pub(crate) const MODULES: usize = 4;

/// The first steps of nginx's start.
pub(crate) fn set_up() {
    static DONE: Once = Once::new();
    // SAFETY: nginx itself does not run. These are the first steps of its start, taken once.
    DONE.call_once(|| unsafe {
        ngx_pagesize = libc::sysconf(libc::_SC_PAGESIZE) as usize;
        ngx_pagesize_shift = ngx_pagesize.trailing_zeros() as usize;
        ngx_pid = libc::getpid();
        ngx_time_init();
        ngx_slab_sizes_init();
        let cycle: &'static mut ngx_cycle_t = Box::leak(Box::new(mem::zeroed()));
        cycle.log = log();
        ngx_cycle = cycle;
    });
    // The thread of each test takes the place of nginx's thread.
    process::enter(ThreadStage::Configures);
}

/// A log that discards all messages and is never freed.
fn log() -> *mut ngx_log_t {
    // SAFETY: an all-zero ngx_log_t is valid, and has a level that logs nothing.
    unsafe { Box::leak(Box::new(mem::zeroed())) }
}

/// A pool of nginx, and objects in it.
pub(crate) struct TestPool(pub(crate) *mut ngx_pool_t);

impl TestPool {
    pub(crate) fn new() -> Self {
        set_up();
        // SAFETY: the log is never freed, so it outlives the pool, as ngx_create_pool requires.
        let pool = unsafe { ngx_create_pool(4096, log()) };
        assert!(!pool.is_null());
        Self(pool)
    }

    /// A copy of the bytes in the pool.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> *mut u8 {
        // SAFETY: the pool is live until Drop (Pool). The new block has the size of `bytes`.
        unsafe {
            let place = ngx_palloc(self.0, bytes.len()).cast::<u8>();
            ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
            place
        }
    }

    /// A zeroed `T` in the pool.
    pub(crate) fn zeros<T>(&self) -> *mut T {
        // SAFETY: the pool is live until Drop (Pool). ngx_pcalloc zeroes the new block.
        unsafe { ngx_pcalloc(self.0, size_of::<T>()).cast() }
    }

    /// A request with a pool and a `ctx`, and otherwise zeroed.
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

    /// A cycle with this pool, and otherwise zeroed.
    pub(crate) fn cycle(&self) -> *mut ngx_cycle_t {
        let cycle = self.zeros::<ngx_cycle_t>();
        // SAFETY: a fresh record.
        unsafe { (*cycle).pool = self.0 };
        cycle
    }
}

impl Drop for TestPool {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and not used afterwards.
        unsafe { ngx_destroy_pool(self.0) }
    }
}

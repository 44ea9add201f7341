//! The module's global allocator: the system's, with a reserve for when the system has no memory.
//!
//! When nginx gets no memory, it rejects a request. Rust ends the process, and all streams of the
//! worker with it. The reserve lets the module finish its requests.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::alloc::System;

/// The size of the reserve in bytes. Its pages use no memory until they are written to.
const SIZE: usize = 1 << 20;

#[global_allocator]
static ALLOCATOR: Reserved = Reserved {
    taken: AtomicBool::new(false),
    region: UnsafeCell::new(Region {
        bytes: [0; SIZE],
        used: 0,
        live: 0,
    }),
};

struct Reserved {
    taken: AtomicBool,
    region: UnsafeCell<Region>,
}

#[repr(C, align(64))]
struct Region {
    bytes: [u8; SIZE],
    /// The number of bytes at the start that have been allocated since the region was last empty.
    used: usize,
    /// The number of allocations that have not been freed.
    live: usize,
}

// SAFETY: nginx is not involved. `used` and `live` are only accessed in `Reserved::with`, by one
// thread at a time. Each byte is only accessed by the owner of the allocation that contains it.
unsafe impl Sync for Reserved {}

impl Reserved {
    /// Runs `change` on the region while no other thread does. `change` must not allocate or panic.
    fn with<T>(&self, change: impl FnOnce(*mut Region) -> T) -> T {
        while self.taken.swap(true, Ordering::Acquire) {
            spin_loop();
        }
        let result = change(self.region.get());
        self.taken.store(false, Ordering::Release);
        result
    }

    fn owns(&self, place: *mut u8) -> bool {
        let start = self.region.get().cast::<u8>() as usize;
        (start..start + SIZE).contains(&(place as usize))
    }

    #[cold]
    fn spare(&self, layout: Layout) -> *mut u8 {
        self.with(|region| {
            // SAFETY: `with` excludes other accesses to the counters of this static (see `Sync`
            // above). The allocation ends within its bytes.
            unsafe {
                let start = region.cast::<u8>();
                let free = start.wrapping_add((*region).used);
                let from = (*region).used + free.align_offset(layout.align());
                match from.checked_add(layout.size()) {
                    Some(to) if to <= SIZE => {
                        (*region).used = to;
                        (*region).live += 1;
                        start.add(from)
                    }
                    _ => ptr::null_mut(),
                }
            }
        })
    }

    #[cold]
    fn give_back(&self) {
        self.with(|region| {
            // SAFETY: `with` excludes other accesses to the counters of this static (see `Sync`
            // above).
            unsafe {
                (*region).live -= 1;
                if (*region).live == 0 {
                    (*region).used = 0;
                }
            }
        });
    }
}

// SAFETY: nginx is not involved. An allocation comes from the system, or is a part of the region
// that is not given out again until it is freed. Its address tells which. No method panics.
unsafe impl GlobalAlloc for Reserved {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees that the size is not zero, as `GlobalAlloc` requires.
        let place = unsafe { System.alloc(layout) };
        if place.is_null() {
            return self.spare(layout);
        }
        place
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees that the size is not zero, as `GlobalAlloc` requires.
        let place = unsafe { System.alloc_zeroed(layout) };
        if !place.is_null() {
            return place;
        }
        let place = self.spare(layout);
        if !place.is_null() {
            // SAFETY: `spare` has returned an allocation of that size, which nothing else refers to
            // yet.
            unsafe { place.write_bytes(0, layout.size()) };
        }
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        if self.owns(place) {
            return self.give_back();
        }
        // SAFETY: the caller guarantees that this is a live allocation with this layout, as
        // `GlobalAlloc` requires. It is not in the region, so it comes from the system.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that this is a live allocation with this layout, and a
        // valid new size, as `GlobalAlloc` requires. An allocation in the region, or one that the
        // system cannot resize, is copied to a new one.
        unsafe {
            if !self.owns(place) {
                let moved = System.realloc(place, layout, size);
                if !moved.is_null() {
                    return moved;
                }
            }
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(place, moved, layout.size().min(size));
                self.dealloc(place, layout);
            }
            moved
        }
    }
}

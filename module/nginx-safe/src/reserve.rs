//! The module's allocator: the system's, and a reserve for when that has nothing left.
//!
//! nginx refuses a request that it gets no memory for. Rust ends the process, and with it
//! every stream of the worker. The reserve lets the module bring its requests to their end.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::alloc::System;

/// It takes no memory until it is used.
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
    /// How many of the first bytes have been given out since all were free.
    used: usize,
    /// How many pieces of those are in use.
    live: usize,
}

// SAFETY: the counts of the region are touched by `Reserved::with` only, by one thread at a
// time; its bytes by those they are given to.
unsafe impl Sync for Reserved {}

impl Reserved {
    /// Runs `change`, which must neither allocate nor panic, on the region.
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
            // SAFETY: a static, which nobody else refers to the counts of now; the piece
            // ends within its bytes.
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
            // SAFETY: as in `spare`.
            unsafe {
                (*region).live -= 1;
                if (*region).live == 0 {
                    (*region).used = 0;
                }
            }
        });
    }
}

// SAFETY: a piece is the system's, or one of the region that nobody else has until it is given
// back; which of both, its address tells.
unsafe impl GlobalAlloc for Reserved {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        let place = unsafe { System.alloc(layout) };
        if place.is_null() {
            return self.spare(layout);
        }
        place
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        let place = unsafe { System.alloc_zeroed(layout) };
        if !place.is_null() {
            return place;
        }
        let place = self.spare(layout);
        if !place.is_null() {
            // SAFETY: a piece of that size.
            unsafe { place.write_bytes(0, layout.size()) };
        }
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        if self.owns(place) {
            return self.give_back();
        }
        // SAFETY: the caller's, of a piece of the system's.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's. A piece of the reserve, or one that the system cannot make
        // larger, is moved.
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

use core::ptr::{self, NonNull};
use core::{mem, panic::AssertUnwindSafe};
use std::panic::catch_unwind;

use ngx::ffi::{ngx_shm_zone_t, ngx_shmtx_create, ngx_slab_init, ngx_slab_pool_t};

use super::{SharedZone, ZoneContent, create};
use crate::config::parse::ConfResult;
use crate::testing::set_up;

struct Content;

impl ZoneContent for Content {
    const DIRECTIVE: &'static str = "zone";
    const KIND: usize = 0;

    fn channels(&self) -> usize {
        0
    }

    fn format(&self, _bytes: &mut [u8]) -> ConfResult {
        Ok(())
    }

    fn adopt(&self, _bytes: &mut [u8], _interrupted: bool) -> ConfResult {
        Ok(())
    }
}

/// A zone as nginx makes it.
fn zone() -> SharedZone {
    const SIZE: usize = 16 * 4096;
    set_up();
    // SAFETY: fresh pages, laid out as ngx_init_zone_pool does; the record lives as long as the
    // program.
    unsafe {
        let place = libc::mmap(
            ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(place, libc::MAP_FAILED);
        let slab = place.cast::<ngx_slab_pool_t>();
        (*slab).end = place.cast::<u8>().add(SIZE);
        (*slab).addr = place;
        (*slab).min_shift = 3;
        let (mutex, lock) = (&raw mut (*slab).mutex, &raw mut (*slab).lock);
        assert_eq!(ngx_shmtx_create(mutex, lock, ptr::null_mut()), 0);
        ngx_slab_init(slab);
        let zone: &'static mut ngx_shm_zone_t = Box::leak(Box::new(mem::zeroed()));
        zone.shm.addr = place.cast();
        zone.shm.size = SIZE;
        let zone = SharedZone(NonNull::from(zone));
        create(zone, &Content).expect("room");
        zone
    }
}

#[test]
fn a_change_within_a_change_is_refused() {
    let zone = zone();
    let within = zone.with(|bytes, _| {
        bytes[0] = 1;
        zone.with(|bytes, _| bytes[0] = 2)
    });
    assert_eq!(within, Some(None));
    let after = zone.with(|bytes, interrupted| (bytes[0], interrupted));
    assert_eq!(after, Some((1, false)), "the mutex is free again");
}

#[test]
fn another_zone_may_be_changed_within_a_change() {
    let (zone, other) = (zone(), zone());
    let within = zone.with(|_, _| other.with(|bytes, _| bytes[0] = 2));
    assert_eq!(within, Some(Some(())));
    assert_eq!(other.with(|bytes, _| bytes[0]), Some(2));
}

#[test]
fn the_next_change_is_told_of_one_that_panicked() {
    let zone = zone();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        zone.with(|_, _| panic!("in the midst of a change"))
    }));
    assert!(panicked.is_err());
    assert_eq!(zone.with(|_, interrupted| interrupted), Some(true));
    assert_eq!(zone.with(|_, interrupted| interrupted), Some(false));
}

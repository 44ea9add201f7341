use core::ptr;
use core::{mem, panic::AssertUnwindSafe};
use std::panic::catch_unwind;
use std::process::Command;

use ngx::ffi::{
    ngx_atomic_t, ngx_pagesize, ngx_pid, ngx_shm_zone_t, ngx_shmtx_create, ngx_shmtx_unlock,
    ngx_slab_init, ngx_slab_pool_t,
};

use super::{SharedZone, ZoneContent, create, lock_of_any, tag};
use crate::config::parse::ConfResult;
use crate::in_force;
use crate::net::timer::Watcher;
use crate::testing::{TestPool, set_up};

struct TestContent<const NUMBER: u8>;

impl<const NUMBER: u8> ZoneContent for TestContent<NUMBER> {
    const DIRECTIVE: &'static str = "zone";
    const TAG: [u8; 8] = [b't', NUMBER, 0, 0, 0, 0, 0, 0];

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

/// Declares and creates a zone, as nginx does.
fn declare<const NUMBER: u8>() -> SharedZone {
    declare_sized::<NUMBER>(SharedZone::size_for(0))
}

fn declare_sized<const NUMBER: u8>(size: usize) -> SharedZone {
    let tag = tag::<TestContent<NUMBER>>();
    // SAFETY: new pages, initialised like ngx_init_zone_pool does. The record is leaked.
    unsafe {
        let place = libc::mmap(
            ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(place, libc::MAP_FAILED);
        let slab = place.cast::<ngx_slab_pool_t>();
        (*slab).end = place.cast::<u8>().add(size);
        (*slab).addr = place;
        (*slab).min_shift = 3;
        let (mutex, lock) = (&raw mut (*slab).mutex, &raw mut (*slab).lock);
        assert_eq!(ngx_shmtx_create(mutex, lock, ptr::null_mut()), 0);
        ngx_slab_init(slab);
        let zone: &'static mut ngx_shm_zone_t = Box::leak(Box::new(mem::zeroed()));
        zone.shm.addr = place.cast();
        zone.shm.size = size;
        create(zone, &TestContent::<NUMBER>).expect("room");
        in_force::declare_zone(tag, zone).expect("a place");
    }
    SharedZone { tag }
}

/// Puts the declared zones in force, until the pool is dropped.
fn in_force() -> TestPool {
    let pool = TestPool::new();
    // SAFETY: the cycle's pool is live, and all zones of the cycle have been declared.
    unsafe { in_force::replace(pool.cycle()).expect("memory") };
    pool
}

/// A zone in force.
fn zone() -> (SharedZone, TestPool) {
    set_up();
    (declare::<0>(), in_force())
}

#[test]
fn a_change_within_a_change_is_refused() {
    let (zone, _cycle) = zone();
    let within = zone.with(|bytes, _| {
        bytes[0] = 1;
        zone.with(|bytes, _| bytes[0] = 2)
    });
    assert_eq!(within, Some(None));
    let after = zone.with(|bytes, interrupted| (bytes[0], interrupted));
    assert_eq!(after, Some((1, false)), "the mutex is free again");
}

#[test]
fn no_other_zone_is_changed_within_a_change() {
    set_up();
    let (zone, other) = (declare::<0>(), declare::<1>());
    let _cycle = in_force();
    assert_eq!(zone.with(|_, _| other.with(|_, _| ())), Some(None));
    assert_eq!(other.with(|_, _| ()), Some(()));
}

#[test]
fn a_zone_is_gone_with_its_configuration() {
    let (zone, cycle) = zone();
    assert_eq!(zone.with(|_, _| ()), Some(()));
    drop(cycle);
    assert_eq!(zone.with(|_, _| ()), None);
    assert!(!zone.watch::<Nobody>(0));
    zone.signal(0);
}

#[test]
fn a_zone_is_there_once_its_configuration_is_in_force() {
    let (zone, cycle) = zone();
    in_force::begin();
    let next = declare::<1>();
    assert_eq!(next.with(|_, _| ()), None, "it may be refused yet");
    let _next_cycle = in_force();
    drop(cycle);
    assert_eq!(next.with(|_, _| ()), Some(()));
    assert_eq!(zone.with(|_, _| ()), None);
}

#[test]
fn a_configuration_that_was_refused_leaves_nothing() {
    let (zone, _cycle) = zone();
    in_force::begin();
    let refused = declare::<1>();
    in_force::begin();
    let _next_cycle = in_force();
    assert_eq!(refused.with(|_, _| ()), None);
    assert_eq!(zone.with(|_, _| ()), None);
}

#[test]
fn other_threads_find_no_zone() {
    let (zone, _cycle) = zone();
    let found = std::thread::spawn(move || zone.with(|_, _| ()));
    assert_eq!(found.join().expect("no panic"), None);
}

#[test]
fn the_next_change_is_told_of_one_that_panicked() {
    let (zone, _cycle) = zone();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        zone.with(|_, _| panic!("in the midst of a change"))
    }));
    assert!(panicked.is_err());
    assert_eq!(zone.with(|_, interrupted| interrupted), Some(true));
    assert_eq!(zone.with(|_, interrupted| interrupted), Some(false));
}

#[test]
fn a_zone_of_an_older_configuration_is_freed_of_a_dead_process() {
    let (zone, _cycle) = zone();
    let mut other = Command::new("true").spawn().expect("true");
    other.wait().expect("it ends");
    let (slab, _) = zone.root().expect("a zone");
    // SAFETY: the mutex of a live zone.
    unsafe {
        let mutex = &raw mut (*slab).mutex;
        *(*mutex).lock = other.id() as ngx_atomic_t;
        lock_of_any(mutex);
        assert_eq!(*(*mutex).lock, ngx_pid as ngx_atomic_t);
        ngx_shmtx_unlock(mutex);
    }
    assert_eq!(zone.with(|_, _| ()), Some(()));
}

#[test]
fn a_zone_with_another_layout_is_not_used() {
    let (zone, _cycle) = zone();
    let (_, root) = zone.root().expect("a zone");
    // SAFETY: the root of a live zone. In builds with another layout, any number can be there.
    unsafe {
        (*root.as_ptr()).layout = 0;
        (*root.as_ptr()).len = usize::MAX;
    }
    assert_eq!(zone.with(|_, _| ()), None);
    zone.signal(0);
}

#[test]
fn a_zone_of_the_least_size_has_room() {
    set_up();
    // SAFETY: as nginx does before it reads a configuration.
    let page = unsafe { ngx_pagesize };
    for bytes in [0, 1, page, 20 * page + 1] {
        let zone = declare_sized::<2>(SharedZone::size_for(bytes));
        let _cycle = in_force();
        assert!(zone.with(|content, _| content.len() >= bytes) == Some(true));
    }
}

struct Nobody;

impl Watcher for Nobody {
    fn woken() {}
}

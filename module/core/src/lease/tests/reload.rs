use super::bed::{Bed, pool};
use crate::lease::*;

#[test]
fn a_reload_keeps_leases_by_key_not_by_place() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1), (2, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let lease = bed.acquire(worker).unwrap();
    let again = bed.reload(&pool(
        "p",
        &[(3, 1, 1), (2, 1, 1), (1, 1, 1)],
        Balance::RoundRobin,
    ));
    assert!(again.pools[0].1.contains(&lease.key));
    let worker = bed.worker(9);
    let mut others = vec![
        bed.acquire(worker).unwrap().key,
        bed.acquire(worker).unwrap().key,
    ];
    others.push(lease.key);
    others.sort_unstable();
    others.dedup();
    assert_eq!(others.len(), 3);
    assert!(bed.acquire(worker).is_none());
    bed.release(lease).unwrap();
    assert_eq!(bed.acquire(worker).unwrap().key, lease.key);
}

#[test]
fn fewer_slots_take_effect_as_leases_end() {
    let mut bed = Bed::new(&pool("p", &[(1, 3, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let leases: Vec<_> = (0..3).map(|_| bed.acquire(worker).unwrap()).collect();
    bed.reload(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(2);
    // On whichever slots: two leases exceed the new limit of one.
    for lease in leases {
        assert!(bed.acquire(worker).is_none());
        bed.release(lease).unwrap();
    }
    assert_eq!(bed.acquire(worker).unwrap().ordinal, 0);
    assert!(bed.acquire(worker).is_none());
}

#[test]
fn more_slots_serve_those_who_wait() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    bed.acquire(worker).unwrap();
    let (tag, _) = bed.wait(worker, 0);
    bed.reload(&pool("p", &[(1, 2, 1)], Balance::RoundRobin));
    assert_eq!(bed.served(worker), [tag]);
}

#[test]
fn an_old_worker_is_granted_only_keys_that_its_configuration_knows() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let old = bed.worker(1);
    let lease = bed.acquire(old).unwrap();
    let (tag, _) = bed.wait(old, 0);
    // Every key is replaced: the waiter can only be served with the old one.
    bed.reload(&pool("p", &[(2, 1, 1)], Balance::RoundRobin));
    assert!(bed.served(old).is_empty());
    let new = bed.worker(2);
    let fresh = bed.acquire(new).unwrap();
    assert_ne!(fresh.key, lease.key);
    bed.release(fresh).unwrap();
    assert!(bed.served(old).is_empty());
    bed.release(lease).unwrap();
    assert_eq!(bed.served(old), [tag]);
    // The new worker does not know the old key.
    assert_eq!(bed.acquire(new).unwrap().key, fresh.key);
    assert!(bed.acquire(new).is_none());
}

#[test]
fn a_retired_key_makes_room_once_nobody_can_use_it() {
    let mut bed = Bed::new(&pool("p", &[(0, 1, 1)], Balance::RoundRobin));
    let mut last = None;
    for round in 1..200u8 {
        let worker = bed.worker(u32::from(round));
        last = Some(bed.acquire(worker).unwrap());
        let now = bed.clock();
        bed.zone().dismiss(worker, now);
        bed.reload(&pool("p", &[(round, 1, 1)], Balance::RoundRobin));
    }
    assert!(last.is_some());
}

#[test]
fn a_configuration_that_does_not_fit_says_what_would() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let big = pool("p", &[(1, 5_000, 1)], Balance::RoundRobin);
    let Err(ReconcileError::TooSmall {
        what, megabytes, ..
    }) = bed.zone().check(std::slice::from_ref(&big))
    else {
        panic!("must not fit");
    };
    assert_eq!(what, "slots");
    let mut room = vec![0u64; megabytes << 17];
    let zone = Zone::format(bytemuck::cast_slice_mut(&mut room)).unwrap();
    assert_eq!(zone.check(&[big]), Ok(()));
}

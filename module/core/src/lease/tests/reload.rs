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
    // Two leases exceed the new limit of one, regardless of their slots.
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

#[test]
fn a_request_that_begins_to_wait_during_a_reload_does_not_make_it_fail() {
    let mut config = pool("p", &[(1, 1, 1)], Balance::RoundRobin);
    let mut bed = Bed::new(&config);
    config.queue = bed.zone().waiters.len() as u32;
    let worker = bed.worker(1);
    let lease = bed.acquire(worker).unwrap();
    let (now, config) = (bed.clock(), [config]);
    bed.zone().check(&config).unwrap();
    let (tag, _) = bed.wait(worker, 0);
    assert!(bed.zone().accept(&config, now).is_ok());
    bed.release(lease).unwrap();
    assert_eq!(bed.served(worker), [tag]);
}

#[test]
fn keys_that_a_worker_brings_during_a_reload_do_not_make_it_fail() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let room = bed.zone().keys.len() as u32;
    let names: Vec<_> = (1..=room as u8).map(|name| (name, 1, 1)).collect();
    let config = [pool("p", &names, Balance::RoundRobin)];
    let old = bed.worker(1);
    let now = bed.clock();
    bed.zone().check(&config).unwrap();
    let brought = pool("p", &[(1, 1, 1), (200, 2, 1)], Balance::RoundRobin);
    let changed = bed.zone().change_keys(old, &[brought], now).unwrap();
    bed.generation = changed.accepted.generation;
    let leases: Vec<_> = std::iter::from_fn(|| bed.acquire(old)).collect();
    assert_eq!(leases.len(), 3);
    let accepted = bed.zone().accept(&config, now).unwrap();
    assert_eq!(accepted.pools[0].1.len(), room as usize);
    bed.generation = accepted.generation;
    // The three leases run on; all other slots can be leased.
    let new = bed.worker(2);
    let more = std::iter::from_fn(|| bed.acquire(new)).count();
    assert_eq!(more, room as usize - 3);
    for lease in leases {
        bed.release(lease).unwrap();
    }
    // The next configuration has room again.
    bed.zone().dismiss(old, now);
    let accepted = bed.zone().accept(&config, now).unwrap();
    bed.generation = accepted.generation;
    let last = bed.worker(3);
    assert_eq!(std::iter::from_fn(|| bed.acquire(last)).count(), 3);
}

/// A pool with a number of slots, and a pool with one slot. The zone has room for 65 waiters.
fn two_pools(slots: u32) -> [PoolConfig; 2] {
    let mut a = pool("a", &[(1, slots, 1)], Balance::RoundRobin);
    let mut b = pool("b", &[(1, 1, 1)], Balance::RoundRobin);
    (a.queue, b.queue) = (20, 10);
    [a, b]
}

fn reload_two(bed: &mut Bed, slots: u32) {
    let (now, pools) = (bed.clock(), two_pools(slots));
    bed.zone().check(&pools).unwrap();
    let accepted = bed.zone().accept(&pools, now).unwrap();
    bed.pool = accepted.pools[1].0;
    bed.generation = accepted.generation;
}

#[test]
fn many_slots_leave_the_other_pools_their_queue() {
    let mut bed = Bed::new(&two_pools(1)[0]);
    reload_two(&mut bed, 60);
    let worker = bed.worker(1);
    bed.acquire(worker).unwrap();
    for _ in 0..10 {
        bed.wait(worker, 0);
    }
    let want = bed.want(worker);
    assert_eq!(bed.zone().enqueue(&want), Err(QueueFull));
}

#[test]
fn more_slots_of_a_pool_leave_the_waiters_of_the_others() {
    let mut bed = Bed::new(&two_pools(1)[0]);
    reload_two(&mut bed, 1);
    let worker = bed.worker(1);
    let mut lease = bed.acquire(worker).unwrap();
    let tags: Vec<_> = (0..10).map(|_| bed.wait(worker, 0).0).collect();
    reload_two(&mut bed, 60);
    for tag in tags {
        bed.release(lease).unwrap();
        let now = bed.clock();
        let served = bed.zone().collect(worker, now).unwrap();
        assert_eq!(served.tag, tag);
        lease = served.grant;
    }
}

#[test]
fn a_pool_that_is_gone_keeps_those_who_wait() {
    let mut bed = Bed::new(&two_pools(1)[0]);
    reload_two(&mut bed, 1);
    let worker = bed.worker(1);
    let lease = bed.acquire(worker).unwrap();
    let tags: Vec<_> = (0..10).map(|_| bed.wait(worker, 0).0).collect();
    let mut alone = two_pools(60);
    alone[0].queue = 55;
    let now = bed.clock();
    bed.zone().check(&alone[..1]).unwrap();
    bed.zone().accept(&alone[..1], now).unwrap();
    let gone = bed.pool;
    assert_eq!(bed.zone().gauges(gone).waiting, 10);
    bed.release(lease).unwrap();
    assert_eq!(bed.served(worker), tags[..1]);
}

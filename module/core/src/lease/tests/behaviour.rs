use super::bed::{Bed, TTL, pool};
use crate::lease::*;

#[test]
fn a_slot_is_held_by_one_lease_at_a_time() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let first = bed.acquire(worker).unwrap();
    assert!(bed.acquire(worker).is_none());
    bed.release(first).unwrap();
    let second = bed.acquire(worker).unwrap();
    assert!(second.fence > first.fence);
    assert_eq!(
        bed.release(first),
        Err(Lost),
        "the old lease no longer counts"
    );
}

#[test]
fn an_expired_lease_is_granted_again_and_the_old_holder_finds_it_lost() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let first = bed.acquire(worker).unwrap();
    bed.now += TTL;
    let second = bed.acquire(worker).unwrap();
    let now = bed.clock();
    assert_eq!(bed.zone().renew(first.handle, now), Err(Lost));
    assert_eq!(bed.zone().renew(second.handle, now), Ok(bed.now + TTL));
}

#[test]
fn renewal_keeps_a_lease_past_its_first_deadline() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let lease = bed.acquire(worker).unwrap();
    for _ in 0..5 {
        bed.now += TTL / 2;
        let now = bed.clock();
        bed.zone().renew(lease.handle, now).unwrap();
        assert!(bed.acquire(worker).is_none());
    }
}

#[test]
fn a_lease_is_renewed_by_the_ttl_that_its_own_worker_knows() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let want = Want {
        ttl_ms: 9_000,
        ..bed.want(worker)
    };
    let now = bed.clock();
    let lease = bed.zone().acquire(&want, now).unwrap();
    assert_eq!(lease.deadline_ms, bed.now + 9_000);
    bed.now += 8_000;
    let now = bed.clock();
    assert_eq!(bed.zone().renew(lease.handle, now), Ok(bed.now + 9_000));
}

#[test]
fn waiters_are_served_by_priority_then_arrival() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let mut held = bed.acquire(worker).unwrap();
    let (low, _) = bed.wait(worker, 0);
    let (high_first, _) = bed.wait(worker, 5);
    let (high_second, _) = bed.wait(worker, 5);
    let mut order = vec![];
    for _ in 0..3 {
        bed.release(held).unwrap();
        let now = bed.clock();
        let mut zone = bed.zone();
        let served = zone.collect(worker, now).unwrap();
        order.push(served.tag);
        held = served.grant;
    }
    assert_eq!(order, [high_first, high_second, low]);
}

#[test]
fn a_waiter_that_leaves_frees_its_place_at_once() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    bed.acquire(worker).unwrap();
    let places: Vec<_> = (0..4).map(|_| bed.wait(worker, 0).1).collect();
    let want = bed.want(worker);
    assert_eq!(bed.zone().enqueue(&want), Err(QueueFull));
    assert_eq!(bed.zone().cancel(places[2]), Cancelled::Left);
    assert_eq!(bed.zone().cancel(places[2]), Cancelled::Gone);
    assert!(bed.zone().enqueue(&want).is_ok());
}

#[test]
fn leaving_just_after_being_served_hands_over_the_lease() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let held = bed.acquire(worker).unwrap();
    let (_, place) = bed.wait(worker, 0);
    let (second, _) = bed.wait(worker, 0);
    bed.release(held).unwrap();
    let Cancelled::Served(grant) = bed.zone().cancel(place) else {
        panic!("was served")
    };
    assert_eq!(bed.served(worker), [0u64; 0]);
    bed.release(grant).unwrap();
    assert_eq!(bed.served(worker), [second]);
}

/// Serves a waiter whose worker is stopped for longer than the TTL.
fn served_and_left_lying(bed: &mut Bed) -> (WorkerId, u64, WaitTicket, Grant) {
    let (stalled, other) = (bed.worker(1), bed.worker(2));
    let held = bed.acquire(other).unwrap();
    let (tag, place) = bed.wait(stalled, 0);
    bed.release(held).unwrap();
    bed.now += TTL;
    let next = bed.acquire(other).unwrap();
    (stalled, tag, place, next)
}

#[test]
fn a_waiter_served_in_vain_has_its_place_again() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let (stalled, tag, _, next) = served_and_left_lying(&mut bed);
    assert!(
        bed.served(stalled).is_empty(),
        "not with somebody else's lease"
    );
    bed.release(next).unwrap();
    assert_eq!(bed.served(stalled), [tag]);
}

#[test]
fn a_waiter_served_in_vain_leaves_without_anybodys_lease() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let (_, _, place, next) = served_and_left_lying(&mut bed);
    assert_eq!(bed.zone().cancel(place), Cancelled::Left);
    assert_eq!(bed.release(next), Ok(()));
}

#[test]
fn a_slot_freed_by_a_process_that_died_at_once_serves_who_waits() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    bed.acquire(worker).unwrap();
    let (tag, _) = bed.wait(worker, 0);
    let now = bed.clock();
    let mut zone = bed.zone();
    zone.slots[0].state = crate::lease::record::slot_state::FREE;
    zone.recover(now);
    assert_eq!(bed.served(worker), [tag]);
}

#[test]
fn the_worker_of_a_served_waiter_is_woken() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let (holder, waiter) = (bed.worker(1), bed.worker(2));
    let held = bed.acquire(holder).unwrap();
    bed.wait(waiter, 0);
    let now = bed.clock();
    let mut zone = bed.zone();
    zone.release(held.handle, now).unwrap();
    assert_eq!(zone.take_wakes().iter().collect::<Vec<_>>(), [waiter]);
    assert!(zone.take_wakes().is_empty());
}

#[test]
fn a_dead_workers_leases_and_places_are_taken_back_by_the_next() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let (alive, dying) = (bed.worker(1), bed.worker(2));
    bed.acquire(dying).unwrap();
    bed.wait(dying, 9);
    let (tag, _) = bed.wait(alive, 0);
    let (now, generation) = (bed.clock(), bed.generation);
    bed.zone()
        .enroll(3, generation, now, |pid| pid == 2)
        .unwrap();
    assert_eq!(bed.served(alive), [tag]);
    let gauges = {
        let pool = bed.pool;
        bed.zone().gauges(pool)
    };
    assert_eq!((gauges.held, gauges.waiting), (1, 0));
}

/// nginx does not replace a worker that was shutting down, so no worker enrolls after its death.
#[test]
fn the_places_of_a_dead_worker_of_an_older_configuration_are_taken_back() {
    let config = pool("p", &[(1, 1, 1)], Balance::RoundRobin);
    let mut bed = Bed::new(&config);
    let old = bed.worker(1);
    bed.acquire(old).unwrap();
    bed.wait(old, 0);
    bed.wait(old, 0);
    bed.reload(&config);
    let new = bed.worker(2);
    let (tag, _) = bed.wait(new, 0);
    let now = bed.clock();
    assert_eq!(bed.zone().pids().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(bed.zone().remove_dead(now, |_| false), 0);
    assert!(bed.served(new).is_empty());
    assert_eq!(bed.zone().remove_dead(now, |pid| pid == 1), 1);
    assert_eq!(bed.served(new), [tag]);
    assert_eq!(bed.zone().remove_dead(now, |pid| pid == 1), 0);
    assert_eq!(bed.zone().pids().collect::<Vec<_>>(), [2]);
}

#[test]
fn a_worker_beside_a_living_one_of_its_configuration_takes_nothing_from_it() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let draining = bed.worker(1);
    let lease = bed.acquire(draining).unwrap();
    let beside = bed.worker(2);
    assert_ne!(draining, beside);
    assert!(bed.acquire(beside).is_none());
    bed.release(lease).unwrap();
}

fn shares(balance: Balance, keys: &[(u8, u32, u32)], picks: usize) -> Vec<usize> {
    let mut bed = Bed::new(&pool("p", keys, balance));
    let worker = bed.worker(1);
    let mut count = vec![0; keys.len()];
    let mut seed = 1u128;
    for _ in 0..picks {
        seed = seed
            .wrapping_mul(0x5851_F42D_4C95_7F2D_1405_7B7E_F767_814F)
            .wrapping_add(11);
        let want = Want {
            nonce: seed >> 32,
            ..bed.want(worker)
        };
        let now = bed.clock();
        let grant = bed.zone().acquire(&want, now).unwrap();
        count[grant.key as usize] += 1;
        bed.release(grant).unwrap();
    }
    count
}

#[test]
fn round_robin_takes_each_key_in_turn_whatever_its_weight() {
    let keys = [(1, 1, 7), (2, 1, 1), (3, 2, 1)];
    assert_eq!(shares(Balance::RoundRobin, &keys, 300), [100, 100, 100]);
}

#[test]
fn weighted_shares_follow_the_weights() {
    let keys = [(1, 1, 1), (2, 1, 2), (3, 1, 7)];
    let count = shares(Balance::Weighted, &keys, 10_000);
    for (got, want) in count.iter().zip([1_000, 2_000, 7_000]) {
        assert!(got.abs_diff(want) <= want / 50, "{count:?}");
    }
}

#[test]
fn random_shares_are_even() {
    let keys = [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1)];
    let count = shares(Balance::Random, &keys, 20_000);
    assert!(count.iter().all(|n| n.abs_diff(5_000) < 300), "{count:?}");
}

#[test]
fn least_busy_fills_the_emptiest_key_first() {
    let mut bed = Bed::new(&pool("p", &[(1, 3, 1), (2, 3, 1)], Balance::LeastBusy));
    let worker = bed.worker(1);
    let leases: Vec<_> = (0..4).map(|_| bed.acquire(worker).unwrap()).collect();
    let busy = leases[0].key;
    for lease in leases.iter().filter(|l| l.key != busy) {
        bed.release(*lease).unwrap();
    }
    assert_ne!(bed.acquire(worker).unwrap().key, busy);
    assert_ne!(bed.acquire(worker).unwrap().key, busy);
}

#[test]
fn a_zone_of_other_bytes_is_refused() {
    let mut bytes = vec![0u64; 40_000];
    let bytes = bytemuck::cast_slice_mut(&mut bytes);
    assert_eq!(Zone::open(bytes).err(), Some(LayoutError::Foreign));
    assert_eq!(
        Zone::format(&mut bytes[..64]).err(),
        Some(LayoutError::TooSmall(64))
    );
}

#[test]
fn a_slot_granted_by_a_process_that_died_at_once_belongs_to_the_waiter() {
    let mut bed = Bed::new(&pool("p", &[(1, 2, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let held = [bed.acquire(worker).unwrap(), bed.acquire(worker).unwrap()];
    let (tag, _) = bed.wait(worker, 0);
    bed.release(held[0]).unwrap();
    let now = bed.clock();
    let mut zone = bed.zone();
    let waiter = zone.waiters.iter_mut().find(|waiter| waiter.tag == tag);
    let waiter = waiter.unwrap();
    waiter.state = crate::lease::record::waiter_state::WAITING;
    waiter.slot = crate::lease::record::NONE;
    zone.recover(now);
    assert_eq!(bed.zone().gauges(PoolId(0)).waiting, 0);
    assert_eq!(bed.served(worker), [tag]);
    assert_eq!(bed.zone().held(), 2);
}

#[test]
fn the_largest_reported_limit_does_not_overflow() {
    let mut bed = Bed::new(&pool("p", &[(1, 2, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let unused = bed.acquire(worker).unwrap();
    let sent = bed.acquire(worker).unwrap();
    let most = i64::MAX.to_string();
    let headers = [
        ("x-ratelimit-remaining-requests", most.as_str()),
        ("x-ratelimit-reset-requests", "60s"),
    ];
    bed.answer(&sent, openai_wire::Verdict::Ok, &headers);
    let now = bed.clock();
    bed.zone().unused(unused.handle, now).unwrap();
    bed.zone().unused(unused.handle, now).unwrap();
    assert!(!bed.zone().is_cooling_down(0, now));
}

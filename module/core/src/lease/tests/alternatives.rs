use super::bed::{Bed, pool};
use crate::lease::*;

/// A zone with two keys, one with two slots and one with one slot.
fn bed() -> (Bed, WorkerId) {
    let mut bed = Bed::new(&pool("p", &[(1, 2, 1), (2, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    (bed, worker)
}

fn free(bed: &mut Bed, handle: LeaseHandle, random: u64) -> Vec<(u32, u32)> {
    let generation = bed.generation;
    let mut free = bed
        .zone()
        .alternatives(handle, generation, 8, random, &Avoid::default());
    free.sort_unstable();
    free
}

fn move_to(bed: &mut Bed, handle: LeaseHandle, slot: (u32, u32)) -> Option<Grant> {
    let (now, until) = (bed.clock(), bed.now + 50);
    bed.zone().move_to(handle, slot, until, now)
}

#[test]
fn alternatives_are_the_free_slots_of_the_pool() {
    let (mut bed, worker) = bed();
    let held = bed.acquire(worker).unwrap();
    assert_eq!((held.key, held.ordinal), (0, 0));
    for random in 0..4 {
        assert_eq!(free(&mut bed, held.handle, random), [(0, 1), (1, 0)]);
    }
    let generation = bed.generation;
    let one = bed
        .zone()
        .alternatives(held.handle, generation, 1, 0, &Avoid::default());
    let other = bed
        .zone()
        .alternatives(held.handle, generation, 1, 1, &Avoid::default());
    assert_eq!((one.len(), other.len()), (1, 1));
    assert_ne!(one, other, "by chance");
    let older = bed
        .zone()
        .alternatives(held.handle, generation - 1, 8, 0, &Avoid::default());
    assert_eq!(older, [], "keys that the worker does not know");
    bed.acquire(worker).unwrap();
    bed.acquire(worker).unwrap();
    assert_eq!(free(&mut bed, held.handle, 0), []);
    bed.release(held).unwrap();
    assert_eq!(free(&mut bed, held.handle, 0), [], "of no lease");
}

#[test]
fn a_lease_moves_and_leaves_its_slot_held_elsewhere() {
    for slot in [(0, 1), (1, 0)] {
        let (mut bed, worker) = bed();
        let held = bed.acquire(worker).unwrap();
        let moved = move_to(&mut bed, held.handle, slot).unwrap();
        assert_eq!((moved.key, moved.ordinal), slot);
        assert_eq!(moved.handle.nonce(), held.handle.nonce());
        assert!(moved.fence > held.fence);
        assert_eq!(bed.release(held), Err(Lost));
        let third = bed.acquire(worker).unwrap();
        assert!(![(0, 0), slot].contains(&(third.key, third.ordinal)));
        assert!(bed.acquire(worker).is_none());
        bed.release(moved).unwrap();
        let again = bed.acquire(worker).unwrap();
        assert_eq!((again.key, again.ordinal), slot);
        bed.now += 50;
        let first = bed.acquire(worker).unwrap();
        assert_eq!((first.key, first.ordinal), (0, 0));
    }
}

#[test]
fn a_lease_moves_nowhere_but_to_a_free_slot_of_its_pool() {
    let (mut bed, worker) = bed();
    let held = bed.acquire(worker).unwrap();
    let other = bed.acquire(worker).unwrap();
    for slot in [(other.key, other.ordinal), (0, 0), (0, 2), (7, 0), (99, 0)] {
        assert_eq!(move_to(&mut bed, held.handle, slot), None, "{slot:?}");
    }
    let gauges = |bed: &mut Bed| {
        let pool = bed.pool;
        bed.zone().gauges(pool).held
    };
    assert_eq!(gauges(&mut bed), 2);
    bed.release(held).unwrap();
    assert_eq!(move_to(&mut bed, held.handle, (0, 1)), None);
    bed.release(other).unwrap();
    assert_eq!(gauges(&mut bed), 0);
}

#[test]
fn the_highest_priority_that_waits() {
    let (mut bed, worker) = bed();
    let pool = bed.pool;
    assert_eq!(bed.zone().waiting_priority(pool), None);
    let (_, low) = bed.wait(worker, -5);
    assert_eq!(bed.zone().waiting_priority(pool), Some(-5));
    let (_, high) = bed.wait(worker, 5);
    assert_eq!(bed.zone().waiting_priority(pool), Some(5));
    bed.zone().cancel(high);
    assert_eq!(bed.zone().waiting_priority(pool), Some(-5));
    bed.zone().cancel(low);
    assert_eq!(bed.zone().waiting_priority(pool), None);
}

#[test]
fn keys_that_were_tried_are_offered_last() {
    let (mut bed, worker) = super::health::bed(&[1, 1, 1, 1]);
    let now = bed.clock();
    let mut want = bed.want(worker);
    let held = bed.zone().acquire(&want, now).unwrap();
    let generation = want.generation;
    for key in [1, 3] {
        want.avoid.push(key);
    }
    for random in 0..8 {
        let zone = bed.zone();
        let found = zone.alternatives(held.handle, generation, 8, random, &want.avoid);
        let keys: Vec<_> = found.iter().map(|&(key, _)| key).collect();
        assert_eq!(keys[0], 2, "{keys:?}");
        assert_eq!(keys.len(), 3, "rather than none: {keys:?}");
    }
}

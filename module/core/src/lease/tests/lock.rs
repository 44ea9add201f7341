use super::bed::{Bed, TTL, pool};
use crate::lease::*;

const RULE: HandOver = HandOver {
    to_others: true,
    most: 2,
    longest_ms: None,
    left_ms: 100,
    generation: 1,
    retain: None,
};

fn bed() -> Bed {
    Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin))
}

fn lock(bed: &Bed) -> Lock {
    Lock::new(77, 1_000, bed.now + TTL)
}

/// A worker with a lease whose slot is locked.
fn locked(bed: &mut Bed) -> (WorkerId, Grant) {
    let worker = bed.worker(1);
    let lease = bed.acquire(worker).unwrap();
    let lock = lock(bed);
    let grant = bed.zone().locked(lease.handle, lock).unwrap();
    (worker, grant)
}

fn end(bed: &mut Bed, grant: Grant) -> Result<Ended, Lost> {
    let now = bed.clock();
    bed.zone().end(grant.handle, RULE, now)
}

#[test]
fn a_lock_goes_from_lease_to_lease_with_rising_fences_and_no_more_often_than_allowed() {
    let mut bed = bed();
    let (worker, mut held) = locked(&mut bed);
    let mut fences = vec![held.fence];
    for _ in 0..2 {
        let (tag, _) = bed.wait(worker, 0);
        assert_eq!(end(&mut bed, held), Ok(Ended::HandedOver));
        assert_eq!(end(&mut bed, held), Err(Lost));
        let now = bed.clock();
        let served = bed.zone().collect(worker, now).unwrap();
        assert_eq!(served.tag, tag);
        held = served.grant;
        assert_eq!(held.lock, Some(lock(&bed)));
        fences.push(held.fence);
    }
    assert_eq!(fences, [1_000, 1_001, 1_002]);
    bed.wait(worker, 0);
    assert_eq!(end(&mut bed, held), Ok(Ended::Locked(lock(&bed))));
    // The slot is held until the lock has been released; then the waiter can lock it.
    assert!(bed.acquire(worker).is_none());
    bed.release(held).unwrap();
    let now = bed.clock();
    assert_eq!(bed.zone().collect(worker, now).unwrap().grant.lock, None);
}

#[test]
fn a_lock_that_others_wait_for_is_not_kept_for_long() {
    for (had_ms, ended) in [(20, Ok(Ended::HandedOver)), (21, Err(()))] {
        let mut bed = bed();
        let (worker, held) = locked(&mut bed);
        bed.wait(worker, 0);
        bed.now += had_ms;
        let rule = HandOver {
            longest_ms: Some(20),
            ..RULE
        };
        let now = bed.clock();
        let given_back = Ended::Locked(held.lock.unwrap());
        let result = bed.zone().end(held.handle, rule, now);
        assert_eq!(result, Ok(ended.unwrap_or(given_back)));
    }
}

#[test]
fn a_lock_that_is_about_to_end_is_given_back() {
    let mut bed = bed();
    let (worker, held) = locked(&mut bed);
    bed.wait(worker, 0);
    bed.now += TTL - 99;
    assert!(matches!(end(&mut bed, held), Ok(Ended::Locked(_))));
}

#[test]
fn a_slot_held_elsewhere_is_tried_again_when_it_ends_there() {
    let mut bed = bed();
    let worker = bed.worker(1);
    let lease = bed.acquire(worker).unwrap();
    let until = bed.now + 500;
    let now = bed.clock();
    bed.zone()
        .taken_elsewhere(lease.handle, until, now)
        .unwrap();
    assert!(bed.acquire(worker).is_none());
    assert_eq!(bed.release(lease), Err(Lost));
    let (tag, _) = bed.wait(worker, 0);
    bed.now = until;
    let now = bed.clock();
    assert_eq!(bed.zone().expire(now), 1);
    assert_eq!(bed.served(worker), [tag]);
}

#[test]
fn word_of_a_release_elsewhere_serves_a_waiter_at_once() {
    let mut bed = bed();
    let worker = bed.worker(1);
    let lease = bed.acquire(worker).unwrap();
    let until = bed.now + 500;
    let now = bed.clock();
    bed.zone()
        .taken_elsewhere(lease.handle, until, now)
        .unwrap();
    let (tag, _) = bed.wait(worker, 0);
    let now = bed.clock();
    bed.zone().freed_elsewhere(lease.key, 1, now);
    assert!(bed.served(worker).is_empty(), "another slot");
    bed.zone().freed_elsewhere(lease.key, 0, now);
    assert_eq!(bed.served(worker), [tag]);
    let grant = bed.zone().granted(0);
    bed.zone().freed_elsewhere(lease.key, 0, now);
    assert!(
        bed.release(grant).is_ok(),
        "a lease of this machine is not ended by word of mouth"
    );
}

#[test]
fn a_dead_workers_lock_binds_until_it_ends() {
    let mut bed = bed();
    let (worker, held) = locked(&mut bed);
    let now = bed.clock();
    bed.zone().dismiss(worker, now);
    let next = bed.worker(2);
    bed.now = held.deadline_ms - 1;
    assert!(bed.acquire(next).is_none());
    bed.now += 1;
    assert!(bed.acquire(next).is_some());
}

#[test]
fn who_has_waited_before_keeps_the_place() {
    let mut bed = bed();
    let worker = bed.worker(1);
    let held = bed.acquire(worker).unwrap();
    let (first, _) = bed.wait(worker, 0);
    bed.wait(worker, 0);
    bed.release(held).unwrap();
    let now = bed.clock();
    let served = bed.zone().collect(worker, now).unwrap();
    let want = Want {
        arrival: Some(served.arrival),
        tag: first,
        ..bed.want(worker)
    };
    bed.zone().enqueue(&want).unwrap();
    bed.release(served.grant).unwrap();
    assert_eq!(bed.served(worker), [first]);
}

#[test]
fn a_lock_is_not_handed_to_a_waiter_of_another_configuration() {
    let mut bed = bed();
    let (_, held) = locked(&mut bed);
    bed.reload(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let newer = bed.worker(2);
    bed.wait(newer, 0);
    assert!(matches!(end(&mut bed, held), Ok(Ended::Locked(_))));
}

#[test]
fn a_lock_that_is_still_being_voted_on_stays_with_its_worker() {
    for to_others in [false, true] {
        let mut bed = bed();
        let (worker, held) = locked(&mut bed);
        let other = bed.worker(2);
        bed.wait(other, 0);
        let rule = HandOver { to_others, ..RULE };
        let now = bed.clock();
        let ended = bed.zone().end(held.handle, rule, now);
        let expected = match to_others {
            true => Ended::HandedOver,
            false => Ended::Locked(held.lock.unwrap()),
        };
        assert_eq!(ended, Ok(expected));
        if !to_others {
            bed.release(held).unwrap();
            bed.wait(worker, 0);
        }
    }
}

/// All fences of a lock are in one block.
#[test]
fn a_lock_is_handed_over_as_often_as_it_has_fences() {
    let mut bed = bed();
    let (worker, mut held) = locked(&mut bed);
    let rule = HandOver {
        most: u32::MAX,
        ..RULE
    };
    for handed in 1.. {
        bed.wait(worker, 0);
        let now = bed.clock();
        if bed.zone().end(held.handle, rule, now) != Ok(Ended::HandedOver) {
            assert_eq!(handed, crate::redlock::Fence::BLOCK);
            break;
        }
        held = bed.zone().collect(worker, now).unwrap().grant;
        assert_eq!(held.fence, 1_000 + handed);
        assert_eq!(held.last_fence, 1_000);
    }
}

#[test]
fn a_fence_granted_here_is_above_those_that_nodes_have_accepted() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let grant = bed.acquire(worker).unwrap();
    let ahead = grant.fence + 60_000_000;
    let lock = Lock::new(7, ahead, bed.now + TTL);
    bed.zone().locked(grant.handle, lock).unwrap();
    bed.release(grant).unwrap();
    assert!(bed.acquire(worker).unwrap().fence > ahead);
}

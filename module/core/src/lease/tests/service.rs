//! Service locks.

use openai_wire::Verdict;

use super::bed::{Bed, TTL, pool};
use crate::lease::*;

fn bed() -> Bed {
    Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin))
}

fn terms(request: &str, until_ms: u64) -> Terms<'_> {
    Terms {
        client: "client",
        service: "service",
        request,
        context: "{}",
        until_ms,
        asked_ms: 0,
    }
}

fn entrust(bed: &mut Bed, grant: Grant, request: &str, for_ms: u64) -> ServiceLock {
    let now = bed.clock();
    let terms = terms(request, bed.now + for_ms);
    bed.zone().entrust(grant.handle, &terms, now).unwrap()
}

fn held(bed: &mut Bed) -> Vec<Holding> {
    let pool = bed.pool;
    bed.zone().holdings(&[pool])
}

/// A lock on the only slot, taken by a worker that has exited.
fn orphan(bed: &mut Bed, for_ms: u64) -> ServiceLock {
    let worker = bed.worker(1);
    let grant = bed.acquire(worker).unwrap();
    let lock = entrust(bed, grant, "r", for_ms);
    let now = bed.clock();
    bed.zone().dismiss(worker, now);
    lock
}

#[test]
fn a_service_lock_outlives_its_worker_and_is_not_renewed() {
    let mut bed = bed();
    let lock = orphan(&mut bed, 5 * TTL);
    let other = bed.worker(2);
    bed.now += 4 * TTL;
    assert_eq!(bed.acquire(other), None);
    assert_eq!(held(&mut bed).len(), 1);
    bed.now += TTL;
    assert!(bed.acquire(other).is_some(), "its time is over");
    let lock = bed.zone().service_lock(lock.handle.nonce()).unwrap();
    assert_eq!(lock.state, ServiceState::Expired);
}

#[test]
fn what_its_owner_did_is_told_once_whatever_has_become_of_it() {
    let mut bed = bed();
    let lock = orphan(&mut bed, TTL);
    let id = lock.handle.nonce();
    bed.now += 2 * TTL;
    assert!(
        !bed.zone().report_service_lock(id + 1),
        "there is no such lock"
    );
    assert!(bed.zone().report_service_lock(id));
    assert!(!bed.zone().report_service_lock(id));
    let worker = bed.worker(2);
    let grant = bed.acquire(worker).unwrap();
    let next = entrust(&mut bed, grant, "r", TTL).handle.nonce();
    assert!(bed.zone().report_service_lock(next));
}

#[test]
fn no_lock_is_made_of_a_key_that_is_cooling_down() {
    let mut bed = Bed::new(&pool("p", &[(1, 2, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let leases = [bed.acquire(worker).unwrap(), bed.acquire(worker).unwrap()];
    let key = leases[0].key;
    let now = bed.clock();
    assert_eq!(bed.zone().cooling_ms(key, now), None);
    bed.answer(
        &leases[0],
        Verdict::RateLimited,
        &[("retry-after-ms", "500")],
    );
    assert_eq!(bed.zone().cooling_ms(key, now), Some(500));
    let terms = terms("r", bed.now + TTL);
    let refused = bed.zone().entrust(leases[1].handle, &terms, now);
    assert_eq!(refused, Err(EntrustError::CoolingDown));
    bed.release(leases[0]).unwrap();
    bed.now += 500;
    bed.expire();
    let now = bed.clock();
    assert_eq!(bed.zone().cooling_ms(key, now), None);
    let lock = bed.zone().entrust(leases[1].handle, &terms, now);
    assert!(lock.is_ok());
}

#[test]
fn it_is_prolonged_and_never_shortened() {
    let mut bed = bed();
    let lock = orphan(&mut bed, TTL);
    let id = lock.handle.nonce();
    let (soon, late) = (bed.now + TTL, bed.now + 9 * TTL);
    let longer = bed.zone().prolong_service_lock(id, late).unwrap();
    assert_eq!(longer.until_ms, late);
    let same = bed.zone().prolong_service_lock(id, soon).unwrap();
    assert_eq!(same.until_ms, longer.until_ms);
    let worker = bed.worker(2);
    bed.now += 8 * TTL;
    assert_eq!(bed.acquire(worker), None);
}

#[test]
fn its_end_serves_who_waits_and_is_remembered() {
    let mut bed = bed();
    let lock = orphan(&mut bed, 5 * TTL);
    let id = lock.handle.nonce();
    let worker = bed.worker(2);
    let (tag, _) = bed.wait(worker, 0);
    let now = bed.clock();
    let ended = bed
        .zone()
        .end_service_lock(id, ServiceState::Forced, now)
        .unwrap();
    assert_eq!(ended.state, ServiceState::Forced);
    assert_eq!(bed.served(worker), [tag]);
    // Only the first report counts.
    assert_eq!(
        bed.zone().end_service_lock(id, ServiceState::Released, now),
        None
    );
    assert_eq!(bed.zone().prolong_service_lock(id, u64::MAX), None);
    assert_eq!(
        bed.zone().service_lock(id).unwrap().state,
        ServiceState::Forced
    );
    assert_eq!(bed.zone().clean_service_locks(now), []);
    assert_eq!(bed.zone().service_lock(id), None);
}

#[test]
fn a_request_has_one_lock() {
    let mut bed = Bed::new(&pool("p", &[(1, 2, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let (first, second) = (bed.acquire(worker).unwrap(), bed.acquire(worker).unwrap());
    let lock = entrust(&mut bed, first, "r", TTL);
    let now = bed.clock();
    let until = bed.now + TTL;
    let again = bed.zone().entrust(second.handle, &terms("r", until), now);
    assert_eq!(again, Err(EntrustError::Known(Box::new(lock.clone()))));
    assert_eq!(
        bed.zone().service_lock_for("client", "service", "r"),
        Some(lock)
    );
    assert_eq!(bed.zone().service_lock_for("client", "other", "r"), None);
    assert_eq!(bed.zone().service_lock_for("other", "service", "r"), None);
    entrust(&mut bed, second, "s", TTL);
}

#[test]
fn what_a_service_said_is_kept() {
    let mut bed = bed();
    let worker = bed.worker(1);
    let grant = bed.acquire(worker).unwrap();
    let (name, request, context) = (
        "n".repeat(MAX_NAME),
        "r".repeat(MAX_REQUEST),
        "c".repeat(MAX_CONTEXT),
    );
    let terms = Terms {
        client: &name,
        service: &name,
        request: &request,
        context: &context,
        until_ms: bed.now + TTL,
        asked_ms: 0,
    };
    let now = bed.clock();
    let lock = bed.zone().entrust(grant.handle, &terms, now).unwrap();
    assert_eq!((&lock.client, &lock.service), (&name, &name));
    assert_eq!((&lock.request, &lock.context), (&request, &context));
    let held = held(&mut bed);
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].holder, HeldBy::Service(Box::new(lock)));
}

#[test]
fn a_listing_tells_whom_a_request_is_of() {
    let mut bed = Bed::new(&pool("p", &[(1, 1, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let of = holder_of("labeling");
    let want = Want {
        holder: of,
        ..bed.want(worker)
    };
    let now = bed.clock();
    let first = bed.zone().acquire(&want, now).unwrap();
    // The same for a request that has waited.
    let waits = Want {
        holder: of + 1,
        ..bed.want(worker)
    };
    bed.zone().enqueue(&waits).unwrap();
    let holder = |bed: &mut Bed| held(bed)[0].holder.clone();
    assert_eq!(holder(&mut bed), HeldBy::Request(of));
    bed.release(first).unwrap();
    assert_eq!(holder(&mut bed), HeldBy::Request(of + 1));
}

/// Records of ended locks are reused, the oldest first.
#[test]
fn records_are_used_again() {
    let mut bed = bed();
    let worker = bed.worker(1);
    let room = bed.zone().services.len();
    assert!(room > 2);
    let mut ids = vec![];
    for at in 0..room + 2 {
        bed.now += 1;
        let grant = bed.acquire(worker).unwrap();
        let lock = entrust(&mut bed, grant, &at.to_string(), TTL);
        ids.push(lock.handle.nonce());
        let now = bed.clock();
        bed.zone()
            .end_service_lock(lock.handle.nonce(), ServiceState::Released, now)
            .unwrap();
    }
    let known: Vec<_> = ids
        .iter()
        .map(|&id| bed.zone().service_lock(id).is_some())
        .collect();
    let expected: Vec<_> = (0..room + 2).map(|at| at >= 2).collect();
    assert_eq!(known, expected);
}

#[test]
fn there_is_room_for_so_many() {
    let slots = 60;
    let mut bed = Bed::new(&pool("p", &[(1, slots, 1)], Balance::RoundRobin));
    let worker = bed.worker(1);
    let room = bed.zone().services.len();
    assert!(
        room < slots as usize,
        "the test needs more slots than records"
    );
    for at in 0..room {
        let grant = bed.acquire(worker).unwrap();
        entrust(&mut bed, grant, &at.to_string(), TTL);
    }
    let grant = bed.acquire(worker).unwrap();
    let now = bed.clock();
    let until = bed.now + TTL;
    let refused = bed
        .zone()
        .entrust(grant.handle, &terms("one more", until), now);
    assert_eq!(refused, Err(EntrustError::Full));
    bed.release(grant).unwrap();
}

/// A process that dies between two writes leaves a record without its slot, or a slot without its
/// record.
#[test]
fn recovery_ends_what_was_torn() {
    let mut bed = bed();
    let lock = orphan(&mut bed, TTL);
    let now = bed.clock();
    bed.zone().recover(now);
    assert_eq!(
        bed.zone().service_lock(lock.handle.nonce()).unwrap().state,
        ServiceState::Held
    );
    let slot = lock.handle.slot as usize;
    bed.zone().slots[slot].owner = 0;
    bed.zone().recover(now);
    assert_ne!(
        bed.zone().service_lock(lock.handle.nonce()).unwrap().state,
        ServiceState::Held
    );
}

/// A process that dies after it ended the record, before it freed the slot.
#[test]
fn recovery_frees_the_slot_of_an_ended_lock() {
    let mut bed = bed();
    let lock = orphan(&mut bed, 100 * TTL);
    let now = bed.clock();
    for head in bed.zone().services.iter_mut() {
        if head.nonce == lock.handle.nonce {
            head.state = ServiceState::Released as u32;
        }
    }
    bed.zone().recover(now);
    let worker = bed.worker(2);
    assert!(bed.acquire(worker).is_some());
}

/// The index of a removed key in the zone is given to another key.
#[test]
fn an_ended_lock_says_nothing_of_the_next_key_with_its_index() {
    let mut bed = bed();
    let worker = bed.worker(1);
    let service = on_nodes(&mut bed, worker, 5 * TTL);
    let (id, now) = (service.handle.nonce(), bed.clock());
    let ended = bed.zone().end_service_lock(id, ServiceState::Released, now);
    assert_eq!(ended.unwrap().key, 0);
    bed.zone().dismiss(worker, now);
    // The index is free when no generation has the key any more.
    for name in [2, 3] {
        bed.reload(&pool("p", &[(name, 1, 1)], Balance::RoundRobin));
    }
    assert_eq!(bed.zone().keys[0].fingerprint, [3; 16]);
    bed.now += TTL;
    assert_eq!(due(&mut bed), (0, vec![], None));
    assert_eq!(bed.zone().service_lock(id), None);
}

/// A worker's service lock that is also stored on nodes.
fn on_nodes(bed: &mut Bed, worker: WorkerId, for_ms: u64) -> ServiceLock {
    let grant = bed.acquire(worker).unwrap();
    let lock = Lock::new(7, 100, bed.now + for_ms);
    bed.zone().locked(grant.handle, lock).unwrap();
    let terms = Terms {
        asked_ms: bed.now + for_ms,
        ..terms("r", bed.now + for_ms)
    };
    let now = bed.clock();
    let service = bed.zone().entrust(grant.handle, &terms, now).unwrap();
    assert_eq!(service.lock, Some(lock));
    service
}

/// Due maintenance: number of locks to keep, locks to release, and the next time.
fn due(bed: &mut Bed) -> (usize, Vec<Stray>, Option<u64>) {
    let now = bed.clock();
    let due = bed.zone().service_locks_to_tend(|_| true, TTL, now);
    (due.keep.len(), due.give_back, due.next_ms)
}

fn state(bed: &mut Bed, lock: &ServiceLock) -> ServiceState {
    let lock = bed.zone().service_lock(lock.handle.nonce());
    lock.unwrap().state
}

#[test]
fn locks_on_nodes_are_seen_to_in_turn() {
    let mut bed = bed();
    let worker = bed.worker(1);
    let service = on_nodes(&mut bed, worker, 5 * TTL);
    let until = Some(service.until_ms);
    assert_eq!(due(&mut bed), (0, vec![], until), "it has just been locked");
    bed.now += TTL;
    assert_eq!(due(&mut bed), (1, vec![], until));
    assert_eq!(due(&mut bed), (0, vec![], until));
    // Another worker releases the lock and holds the slot meanwhile.
    let other = bed.worker(2);
    let now = bed.clock();
    let id = service.handle.nonce();
    let to = (other, 100);
    let left = bed
        .zone()
        .reclaim_service_lock(id, ServiceState::Released, to, now)
        .unwrap();
    assert_eq!(left.lock.map(|lock| lock.nonce()), Some(7));
    assert_eq!(bed.acquire(worker), None);
    bed.zone().dismiss(other, now);
    bed.now += 100;
    assert!(bed.acquire(worker).is_some());
    // That worker has died: maintenance releases the lock until the nodes confirm it.
    for _ in 0..2 {
        assert_eq!(due(&mut bed), (0, vec![], None));
        bed.now += TTL;
        let (_, strays, _) = due(&mut bed);
        assert_eq!(strays[0].lock.nonce(), 7);
        assert_eq!(strays[0].handle, service.handle);
    }
    bed.zone().settle_service_lock(id);
    bed.now += TTL;
    assert_eq!(due(&mut bed), (0, vec![], None));
    assert_eq!(state(&mut bed, &service), ServiceState::Released);
}

/// Too few nodes have extended the lock: after its end some nodes may keep it for longer.
#[test]
fn nodes_that_were_asked_for_longer_are_told_of_the_end() {
    let mut bed = bed();
    let worker = bed.worker(1);
    let service = on_nodes(&mut bed, worker, TTL);
    let id = service.handle.nonce();
    let long = bed.now + 60 * TTL;
    assert!(bed.zone().ask_for_service_lock(id, long));
    bed.now += TTL;
    let (_, strays, next) = due(&mut bed);
    assert_eq!(
        (strays.len(), next),
        (1, None),
        "it has ended here, and at once"
    );
    assert_eq!(state(&mut bed, &service), ServiceState::Expired);
    assert!(!bed.zone().ask_for_service_lock(id, long), "it has ended");
    // No node answers, and an administrator cleans up the record.
    let now = bed.clock();
    bed.zone().clean_service_locks(now);
    bed.now += TTL;
    assert_eq!(due(&mut bed).1.len(), 1);
    // By then it has expired on all nodes.
    bed.now = long + 10 * 60_000;
    assert_eq!(due(&mut bed), (0, vec![], None));
}

#[test]
fn a_lost_lock_is_left_to_whoever_has_it() {
    let mut bed = bed();
    let service = orphan(&mut bed, 2 * TTL);
    let now = bed.clock();
    let lost = bed
        .zone()
        .lose_service_lock(service.handle, TTL, now)
        .unwrap();
    assert_eq!(lost.state, ServiceState::Lost);
    let worker = bed.worker(2);
    assert_eq!(bed.acquire(worker), None);
    assert!(held(&mut bed).is_empty());
    bed.now += TTL;
    assert!(bed.acquire(worker).is_some());
}

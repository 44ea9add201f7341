use super::bed::{Bed, pool};
use crate::lease::*;

fn keys(names: &[u8]) -> PoolConfig {
    let keys: Vec<_> = names.iter().map(|&name| (name, 1, 1)).collect();
    pool("p", &keys, Balance::RoundRobin)
}

fn change(bed: &mut Bed, worker: WorkerId, names: &[u8]) -> Result<Changed, ChangeError> {
    let now = bed.clock();
    bed.zone().change_keys(worker, &[keys(names)], now)
}

#[test]
fn the_same_keys_make_no_generation_whoever_brings_them() {
    let mut bed = Bed::new(&keys(&[1, 2]));
    let (one, two) = (bed.worker(1), bed.worker(2));
    let unchanged = change(&mut bed, one, &[2, 1]).unwrap();
    assert!(!unchanged.first);
    assert_eq!(unchanged.accepted.generation, bed.generation);
    let first = change(&mut bed, one, &[2, 3]).unwrap();
    assert!(
        first.first && bed.zone().newer_keys(two).is_some() && bed.zone().newer_keys(one).is_none()
    );
    let second = change(&mut bed, two, &[3, 2]).unwrap();
    assert!(!second.first && bed.zone().newer_keys(two).is_none());
    assert_eq!(second.accepted.generation, first.accepted.generation);
    let [a, b] = [&first, &second].map(|c| c.accepted.pools[0].1.clone());
    assert_eq!(a, b.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn keys_that_a_dying_worker_entered_can_be_used() {
    let mut bed = Bed::new(&keys(&[1]));
    let (one, two) = (bed.worker(1), bed.worker(2));
    let before = bed.generation;
    change(&mut bed, one, &[1, 2]).unwrap();
    // It dies before it completes the generation.
    bed.zone().header.generation = before;
    let now = bed.clock();
    bed.zone().dismiss(one, now);
    let changed = change(&mut bed, two, &[1, 2]).unwrap();
    assert!(changed.first);
    bed.generation = changed.accepted.generation;
    assert!(bed.acquire(two).is_some() && bed.acquire(two).is_some());
}

#[test]
fn other_workers_are_told_of_new_keys() {
    let mut bed = Bed::new(&keys(&[1]));
    let (one, two) = (bed.worker(1), bed.worker(2));
    let now = bed.clock();
    let mut zone = bed.zone();
    zone.change_keys(one, &[keys(&[2])], now).unwrap();
    assert_eq!(zone.take_wakes().iter().collect::<Vec<_>>(), [two]);
    zone.change_keys(two, &[keys(&[2])], now).unwrap();
    assert!(zone.take_wakes().is_empty());
}

#[test]
fn a_key_that_is_gone_is_granted_to_nobody_and_its_lease_runs_on() {
    let mut bed = Bed::new(&keys(&[1, 2]));
    let (one, two) = (bed.worker(1), bed.worker(2));
    let running = bed.acquire(one).unwrap();
    let gone = running.key;
    let name = if gone == 0 { 1 } else { 2 };
    change(&mut bed, one, &[3 - name]).unwrap();
    // The worker that has not read the file yet gets one of the remaining keys.
    assert_ne!(bed.acquire(two).unwrap().key, gone);
    bed.release(running).unwrap();
    assert!(bed.acquire(two).is_none());
    assert!(!bed.zone().is_in_use(gone, one));
}

#[test]
fn an_older_worker_can_still_get_a_key_that_a_reload_took_away() {
    let mut bed = Bed::new(&keys(&[1]));
    let old = bed.worker(1);
    let grant = bed.acquire(old).unwrap();
    let gone = grant.key;
    bed.reload(&keys(&[2]));
    let new = bed.worker(2);
    bed.release(grant).unwrap();
    assert!(bed.zone().is_in_use(gone, old));
    assert!(!bed.zone().is_in_use(gone, new));
}

#[test]
fn a_new_key_serves_those_who_wait_once_their_worker_has_it() {
    let mut bed = Bed::new(&keys(&[1]));
    let (one, two) = (bed.worker(1), bed.worker(2));
    bed.acquire(one).unwrap();
    let (of_two, _) = bed.wait(two, 0);
    let (of_one, _) = bed.wait(one, 0);
    change(&mut bed, one, &[1, 2]).unwrap();
    // The first in the queue does not have that key yet.
    assert_eq!(bed.served(one), [of_one]);
    assert!(bed.served(two).is_empty());
    change(&mut bed, one, &[1, 2, 3]).unwrap();
    change(&mut bed, two, &[1, 2, 3]).unwrap();
    assert_eq!(bed.served(two), [of_two]);
}

#[test]
fn workers_of_an_older_configuration_have_no_say() {
    let mut bed = Bed::new(&keys(&[1]));
    let old = bed.worker(1);
    bed.reload(&keys(&[1]));
    let new = bed.worker(2);
    assert!(bed.zone().newer_keys(old).is_none());
    let refused = change(&mut bed, old, &[1, 2]);
    assert_eq!(refused.err(), Some(ChangeError::Superseded));
    assert!(change(&mut bed, new, &[1, 2]).unwrap().first);
    // A worker that takes the place of a dead one begins with the configuration's keys.
    let late = bed.worker(3);
    assert!(bed.zone().newer_keys(late).is_some());
    assert!(!change(&mut bed, late, &[1, 2]).unwrap().first);
}

#[test]
fn keys_that_do_not_fit_leave_the_old_ones() {
    let mut bed = Bed::new(&keys(&[1]));
    let worker = bed.worker(1);
    let many: Vec<u8> = (0..200).collect();
    let refused = change(&mut bed, worker, &many);
    assert!(matches!(refused, Err(ChangeError::Misfit(_))));
    assert!(bed.acquire(worker).is_some());
}

#[test]
fn keys_may_change_for_ever() {
    let mut bed = Bed::new(&keys(&[0]));
    let worker = bed.worker(1);
    for round in 0..=255u8 {
        let lease = bed.acquire(worker).unwrap();
        let names = [round, round.wrapping_add(1)];
        bed.generation = change(&mut bed, worker, &names)
            .unwrap()
            .accepted
            .generation;
        bed.release(lease).unwrap();
    }
}

/// A process that dies while it applies a configuration leaves the keys of the former one retired.
#[test]
fn a_configuration_that_is_not_completed_changes_nothing() {
    let mut bed = Bed::new(&keys(&[1]));
    let worker = bed.worker(1);
    let now = bed.clock();
    let mut zone = bed.zone();
    zone.keys[0].state = crate::lease::record::presence::RETIRED;
    zone.keys[0].retired = zone.header.generation + 1;
    zone.pools[0].state = crate::lease::record::presence::RETIRED;
    zone.recover(now);
    assert!(bed.acquire(worker).is_some());
}

#[test]
fn a_configuration_without_room_changes_nothing() {
    let mut bed = Bed::new(&keys(&[1]));
    let worker = bed.worker(1);
    let room = bed.zone().slots.len() as u32;
    let large = pool("p", &[(1, 1, 1), (2, room, 1)], Balance::RoundRobin);
    let now = bed.clock();
    bed.zone().accept(&[large], now).unwrap_err();
    bed.zone().recover(now);
    assert!(bed.acquire(worker).is_some());
}

/// A worker of an older configuration, and the index of a key that it knows and that belongs to
/// another key now.
fn reused_index() -> (Bed, WorkerId, WorkerId, u32) {
    let mut bed = Bed::new(&keys(&[1, 2]));
    let old = bed.worker(1);
    let known = bed.reload(&keys(&[1, 2])).pools[0].1.clone();
    let new = bed.worker(2);
    change(&mut bed, new, &[1]).unwrap();
    let changed = change(&mut bed, new, &[1, 3]).unwrap();
    bed.generation = changed.accepted.generation;
    let key = changed.accepted.pools[0].1[1];
    assert_eq!(key, known[1], "the index is used again");
    (bed, old, new, key)
}

#[test]
fn what_a_worker_hears_of_a_removed_key_does_not_affect_the_next_at_its_index() {
    let (mut bed, old, new, key) = reused_index();
    let now = bed.clock();
    let learn = |bed: &mut Bed, worker, until| {
        let mut zone = bed.zone();
        zone.act_for(worker);
        zone.learn_cool_down(key, Cause::InvalidKey, 1, until, now)
    };
    assert_eq!(learn(&mut bed, old, 5_000), None);
    assert!(!bed.zone().is_cooling_down(key, now));
    assert!(learn(&mut bed, new, 5_000).is_some());
    let probe = |bed: &mut Bed, worker| {
        let mut zone = bed.zone();
        zone.act_for(worker);
        zone.probed_key(key, openai_wire::Verdict::Ok, now)
    };
    assert_eq!(probe(&mut bed, old), None);
    assert!(bed.zone().is_cooling_down(key, now));
    assert_eq!(probe(&mut bed, new), Some(KeyChange::Recovered));
}

#[test]
fn a_slot_freed_elsewhere_is_not_that_of_the_next_key_at_its_index() {
    let (mut bed, old, new, key) = reused_index();
    let leases = [bed.acquire(new).unwrap(), bed.acquire(new).unwrap()];
    let lease = leases.iter().find(|lease| lease.key == key).unwrap();
    let now = bed.clock();
    let until = now.mono_ms + 5_000;
    bed.zone()
        .taken_elsewhere(lease.handle, until, now)
        .unwrap();
    let freed = |bed: &mut Bed, worker| {
        let mut zone = bed.zone();
        zone.act_for(worker);
        zone.freed_elsewhere(key, 0, now);
    };
    freed(&mut bed, old);
    assert!(bed.acquire(new).is_none(), "another machine holds it");
    freed(&mut bed, new);
    assert_eq!(bed.acquire(new).unwrap().key, key);
}

#[test]
fn a_worker_tends_no_lock_of_a_key_that_it_does_not_know() {
    let (mut bed, old, new, key) = reused_index();
    let leases = [bed.acquire(new).unwrap(), bed.acquire(new).unwrap()];
    let lease = leases.iter().find(|lease| lease.key == key).unwrap();
    let now = bed.clock();
    let lock = Lock::new(7, 9, now.mono_ms + 5_000);
    bed.zone().locked(lease.handle, lock).unwrap();
    let terms = Terms {
        client: "c",
        service: "s",
        request: "r",
        context: "",
        until_ms: now.mono_ms + 5_000,
        asked_ms: now.mono_ms + 5_000,
    };
    bed.zone().entrust(lease.handle, &terms, now).unwrap();
    let later = Now {
        mono_ms: now.mono_ms + 100,
        ..now
    };
    let tended = |bed: &mut Bed, worker| {
        let mut zone = bed.zone();
        zone.act_for(worker);
        let due = zone.service_locks_to_tend(|at| at == key, 10, later);
        due.keep.len()
    };
    assert_eq!(tended(&mut bed, old), 0);
    assert_eq!(tended(&mut bed, new), 1);
}

#[test]
fn a_worker_is_listed_only_keys_that_it_knows() {
    let (mut bed, old, new, key) = reused_index();
    let (now, pool) = (bed.clock(), bed.pool);
    for (worker, listed) in [(old, false), (new, true)] {
        let mut zone = bed.zone();
        zone.act_for(worker);
        let listing = zone.listing(pool, now);
        assert_eq!(listing.iter().any(|view| view.key == key), listed);
        assert_eq!(zone.keys(now).iter().any(|k| k.1.key == key), listed);
    }
}

#[test]
fn a_late_response_does_not_affect_the_next_key_at_the_index() {
    let mut bed = Bed::new(&keys(&[1, 2]));
    let worker = bed.worker(1);
    let leases = [bed.acquire(worker).unwrap(), bed.acquire(worker).unwrap()];
    let late = leases.into_iter().max_by_key(|lease| lease.key).unwrap();
    // The lease is lost: the worker was stopped for longer than its TTL.
    bed.now += 2 * super::bed::TTL;
    bed.expire();
    change(&mut bed, worker, &[1]).unwrap();
    let changed = change(&mut bed, worker, &[1, 3]).unwrap();
    assert!(changed.accepted.pools[0].1.contains(&late.key));
    let told = bed.answer(&late, openai_wire::Verdict::InvalidKey, &[]);
    assert_eq!(told, None);
    assert!(bed.view(late.key).cause.is_none());
}

#[test]
fn a_lease_does_not_move_to_the_next_key_at_an_index() {
    let (mut bed, old, new, key) = reused_index();
    let want = Want {
        generation: 1,
        ..bed.want(old)
    };
    let now = bed.clock();
    let lease = bed.zone().acquire(&want, now).unwrap();
    for (worker, moves) in [(old, false), (new, true)] {
        let mut zone = bed.zone();
        zone.act_for(worker);
        let moved = zone.move_to(lease.handle, (key, 0), now.mono_ms + 100, now);
        assert_eq!(moved.is_some(), moves);
    }
}

/// Keys whose ids name locks on nodes.
fn named(keys: &[(u8, &str)]) -> PoolConfig {
    let mut config = self::keys(&keys.iter().map(|&(key, _)| key).collect::<Vec<_>>());
    for (key, (_, id)) in config.keys.iter_mut().zip(keys) {
        key.id = id_hash(id);
    }
    config
}

#[test]
fn a_key_whose_id_names_locks_keeps_it_whoever_brings_the_keys() {
    let mut bed = Bed::new(&named(&[(1, "a"), (2, "b")]));
    let (one, now) = (bed.worker(1), bed.clock());
    let read = |bed: &mut Bed, worker, keys: &[(u8, &str)]| {
        let changed = bed.zone().change_keys(worker, &[named(keys)], now);
        changed.map(|changed| changed.first)
    };
    assert_eq!(
        read(&mut bed, one, &[(1, "a"), (2, "b"), (3, "c")]),
        Ok(true)
    );
    // Also a worker that has just begun, in the place of one that died.
    let late = bed.worker(2);
    let renamed = Err(ChangeError::Renamed("p".into()));
    for worker in [one, late] {
        let swapped = [(1, "b"), (2, "a"), (3, "c")];
        assert_eq!(read(&mut bed, worker, &swapped), renamed);
        let moved = [(1, "a"), (2, "d")];
        assert_eq!(read(&mut bed, worker, &moved), renamed);
    }
    assert_eq!(read(&mut bed, late, &[(1, "a"), (4, "b")]), Ok(true));
    // A key that a lease still holds keeps its id, too.
    let lease = bed.acquire(one).unwrap();
    assert_eq!(read(&mut bed, late, &[(4, "b")]), Ok(true));
    assert_eq!(read(&mut bed, late, &[(4, "b"), (1, "x")]), renamed);
    bed.release(lease).unwrap();
    assert_eq!(read(&mut bed, late, &[(4, "b"), (1, "x")]), Ok(true));
    // Another configuration may rename keys.
    bed.reload(&named(&[(1, "y"), (4, "z")]));
    let new = bed.worker(3);
    assert_eq!(read(&mut bed, new, &[(1, "y"), (4, "z")]), Ok(false));
}

#[test]
fn an_entry_of_a_removed_key_is_not_that_of_the_next_at_its_index() {
    let (mut bed, old, new, key) = reused_index();
    assert!(!bed.zone().is_in_use(key, old));
    assert!(bed.zone().is_in_use(key, new));
}

#[test]
fn a_worker_is_not_told_the_index_of_a_key_that_it_does_not_know() {
    let (mut bed, old, new, key) = reused_index();
    let leases = [bed.acquire(new).unwrap(), bed.acquire(new).unwrap()];
    let lease = leases.iter().find(|lease| lease.key == key).unwrap();
    let now = bed.clock();
    let terms = Terms {
        client: "c",
        service: "s",
        request: "r",
        context: "",
        until_ms: now.mono_ms + 60_000,
        asked_ms: 0,
    };
    let lock = bed.zone().entrust(lease.handle, &terms, now).unwrap();
    for (worker, is_known) in [(old, false), (new, true)] {
        let mut zone = bed.zone();
        zone.act_for(worker);
        let id = lock.handle.nonce();
        assert_eq!(zone.service_lock(id).unwrap().is_known(), is_known);
        let again = zone.service_lock_for("c", "s", "r").unwrap();
        assert_eq!(again.is_known(), is_known);
        let holdings = zone.holdings(&[lock.pool]);
        let holding = holdings.iter().find(|holding| holding.id == id).unwrap();
        assert_eq!(holding.key == key, is_known);
    }
}

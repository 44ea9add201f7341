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
    assert!(!bed.zone().is_in_use(gone));
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

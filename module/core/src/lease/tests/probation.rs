//! Keys on probation after a cool-down.

use openai_wire::Verdict;

use super::bed::{Bed, TTL, pool};
use super::health::{HOUR, MINUTE, bed, serve};
use crate::lease::*;

#[test]
fn a_key_on_probation_has_one_lease_then_twice_as_many() {
    let (mut bed, worker) = bed(&[10]);
    serve(
        &mut bed,
        worker,
        Verdict::RateLimited,
        &[("retry-after", "1")],
    );
    bed.now += 1_000;
    let mut held = vec![];
    for most in [1, 2, 4, 8, 10] {
        while let Some(lease) = bed.acquire(worker) {
            held.push(lease);
        }
        assert_eq!(held.len(), most);
        assert_eq!(bed.view(0).on_probation, most < 10);
        bed.answer(&held[most - 1], Verdict::Ok, &[]);
    }
}

#[test]
fn leases_from_before_the_cool_down_are_no_part_of_the_probation() {
    let (mut bed, worker) = bed(&[4]);
    let old: Vec<_> = (0..3).map(|_| bed.acquire(worker).unwrap()).collect();
    bed.answer(&old[0], Verdict::RateLimited, &[("retry-after", "1")]);
    bed.now += TTL / 2;
    let now = bed.clock();
    for lease in &old {
        bed.zone().renew(lease.handle, now).unwrap();
    }
    bed.now += TTL / 2;
    let probe = bed.acquire(worker).expect("one more");
    assert!(bed.acquire(worker).is_none());
    bed.release(old[0]).unwrap();
    assert!(bed.acquire(worker).is_none(), "still one on probation");
    bed.answer(&old[1], Verdict::Ok, &[]);
    assert!(bed.acquire(worker).is_none(), "that was sent long before");
    bed.answer(&probe, Verdict::UpstreamError, &[]);
    assert!(bed.acquire(worker).is_none(), "that says nothing");
    bed.answer(&probe, Verdict::Ok, &[]);
    assert!(bed.acquire(worker).is_some());
    assert!(bed.acquire(worker).is_none());
}

#[test]
fn without_a_ramp_only_a_key_that_may_be_dead_is_probed() {
    let mut config = pool("p", &[(1, 5, 1)], Balance::RoundRobin);
    config.policy.ramp = false;
    for (verdict, wait, at_once) in [
        (Verdict::RateLimited, 1_000, 5),
        (Verdict::InvalidKey, MINUTE, 1),
        (Verdict::QuotaExceeded, HOUR, 1),
    ] {
        let mut bed = Bed::new(&config);
        let worker = bed.worker(1);
        serve(&mut bed, worker, verdict, &[]);
        bed.now += wait;
        let held: Vec<_> = std::iter::from_fn(|| bed.acquire(worker)).collect();
        assert_eq!(held.len(), at_once, "{verdict:?}");
        bed.answer(&held[0], Verdict::Ok, &[]);
        let more = std::iter::from_fn(|| bed.acquire(worker)).count();
        assert_eq!(held.len() + more, 5);
    }
}

#[test]
fn a_slot_held_elsewhere_is_no_part_of_the_probation() {
    let (mut bed, worker) = bed(&[3]);
    let now = bed.clock();
    bed.zone()
        .learn_cool_down(0, Cause::RateLimited, 0, now.mono_ms + 10, now);
    bed.now += 10;
    let first = bed.acquire(worker).unwrap();
    assert!(bed.acquire(worker).is_none());
    let until = bed.now + 100;
    let now = bed.clock();
    let (tag, _) = bed.wait(worker, 0);
    bed.zone()
        .taken_elsewhere(first.handle, until, now)
        .unwrap();
    assert_eq!(bed.served(worker), [tag], "by another slot");
    let second = bed.zone().granted(1);
    assert!(bed.acquire(worker).is_none());
    bed.now += 100;
    assert!(
        bed.acquire(worker).is_none(),
        "it came back, and is not more"
    );
    bed.release(second).unwrap();
    assert!(bed.acquire(worker).is_some());
    assert!(bed.acquire(worker).is_none());
}

//! The health of keys, with a simulated clock: what is counted, waiters, reloads.

use openai_wire::Verdict;

use super::bed::{Bed, TTL, pool};
use crate::lease::*;

pub(super) const MINUTE: u64 = 60_000;
pub(super) const HOUR: u64 = 60 * MINUTE;

/// A pool of keys with these numbers of slots.
pub(super) fn bed(slots: &[u32]) -> (Bed, WorkerId) {
    let keys: Vec<_> = (1..).zip(slots).map(|(n, &slots)| (n, slots, 1)).collect();
    let mut bed = Bed::new(&pool("p", &keys, Balance::RoundRobin));
    let worker = bed.worker(1);
    (bed, worker)
}

/// Sends a request and reports its result with this verdict.
pub(super) fn serve(bed: &mut Bed, worker: WorkerId, verdict: Verdict, headers: &[(&str, &str)]) {
    let grant = bed.acquire(worker).expect("a key");
    bed.answer(&grant, verdict, headers);
    bed.release(grant).unwrap();
}

/// The longest random cool-down with that bound: the tests use the largest random number.
pub(super) fn most(ms: u64) -> u64 {
    1 + u64::MAX % ms
}

#[test]
fn good_answers_and_others_faults_leave_the_key_in() {
    for verdict in [Verdict::Ok, Verdict::UpstreamError, Verdict::ClientError] {
        let (mut bed, worker) = bed(&[1]);
        for _ in 0..20 {
            serve(&mut bed, worker, verdict, &[]);
        }
        let view = bed.view(0);
        assert_eq!((view.cause, view.failures, view.cap), (None, 0, 1));
    }
}

#[test]
fn what_came_of_attempts_is_counted_by_verdict() {
    let (mut bed, worker) = bed(&[1, 1]);
    for (n, verdict) in (1..).zip(Verdict::ALL) {
        for _ in 0..n {
            let grant = bed.acquire(worker).expect("a key");
            bed.answer(&grant, verdict, &[]);
            bed.release(grant).unwrap();
            bed.now += 2 * HOUR;
            bed.expire();
        }
    }
    let [one, two] = [bed.view(0), bed.view(1)].map(|view| view.attempts);
    let sums: Vec<_> = one.iter().zip(two).map(|(a, b)| a + b).collect();
    assert_eq!(sums, [1, 2, 3, 4, 5, 6]);
    let now = bed.clock();
    let mut zone = bed.zone();
    zone.recover(now);
    let kept = zone.keys(now).into_iter();
    let kept: Vec<_> = kept.map(|(_, view)| view.attempts).collect();
    assert_eq!(kept, [one, two]);
}

#[test]
fn waiters_are_served_when_a_key_returns_and_somebody_is_told_to_look() {
    let (mut bed, worker) = bed(&[2]);
    let lease = bed.acquire(worker).unwrap();
    let other = bed.acquire(worker).unwrap();
    let (first, _) = bed.wait(worker, 0);
    let (second, _) = bed.wait(worker, 0);
    let now = bed.clock();
    let report = AttemptReport {
        verdict: Verdict::InvalidKey,
        limits: Default::default(),
        status: 401,
        random: 0,
    };
    let mut zone = bed.zone();
    zone.report(&lease, &report, now);
    zone.release(lease.handle, now).unwrap();
    zone.release(other.handle, now).unwrap();
    assert_eq!(zone.take_alarm(), Some(now.mono_ms + MINUTE));
    assert_eq!(zone.take_alarm(), None);
    assert_eq!(bed.served(worker), [0u64; 0], "the key is out");
    bed.now += MINUTE;
    bed.expire();
    let now = bed.clock();
    let probe = bed.zone().collect(worker, now).expect("served");
    assert_eq!(probe.tag, first);
    assert_eq!(bed.served(worker), [0u64; 0], "one on probation");
    bed.answer(&probe.grant, Verdict::Ok, &[]);
    assert_eq!(bed.served(worker), [second]);
}

#[test]
fn without_waiters_nobody_has_to_look() {
    let (mut bed, worker) = bed(&[1]);
    serve(&mut bed, worker, Verdict::InvalidKey, &[]);
    assert_eq!(bed.zone().take_alarm(), None);
    assert_eq!(bed.zone().next_deadline(), Some(bed.now + MINUTE));
}

#[test]
fn health_outlives_a_reload_and_a_process_that_died_at_work() {
    let (mut bed, worker) = bed(&[3, 1]);
    let lease = bed.acquire(worker).unwrap();
    let other = bed.acquire(worker).unwrap();
    assert_eq!((lease.key, other.key), (0, 1));
    bed.answer(&other, Verdict::InvalidKey, &[]);
    bed.answer(&lease, Verdict::RateLimited, &[("retry-after", "1")]);
    bed.release(lease).unwrap();
    bed.now += 500;
    let before = (bed.view(0), bed.view(1));
    let now = bed.clock();
    bed.zone().recover(now);
    assert_eq!((bed.view(0), bed.view(1)), before);
    bed.reload(&pool("p", &[(2, 1, 1), (1, 3, 1)], Balance::RoundRobin));
    assert_eq!((bed.view(0), bed.view(1)), before);
    let worker = bed.worker(2);
    assert!(bed.acquire(worker).is_none());
    bed.now += 500;
    bed.expire();
    let probe = bed.acquire(worker).expect("back");
    let now = bed.clock();
    bed.zone().recover(now);
    assert!(bed.acquire(worker).is_none(), "still on probation");
    bed.reload(&pool("p", &[(1, 3, 1)], Balance::RoundRobin));
    let worker = bed.worker(3);
    assert!(bed.acquire(worker).is_none(), "still on probation");
    bed.answer(&probe, Verdict::Ok, &[]);
    assert!(bed.acquire(worker).is_some());
}

#[test]
fn a_late_answer_for_a_key_that_is_gone_is_harmless() {
    let (mut bed, worker) = bed(&[1]);
    let lease = bed.acquire(worker).unwrap();
    bed.release(lease).unwrap();
    bed.reload(&pool("p", &[(7, 1, 1)], Balance::RoundRobin));
    assert!(
        bed.answer(&lease, Verdict::InvalidKey, &[]).is_some(),
        "retired: others use it yet"
    );
    let now = bed.clock();
    bed.zone().dismiss(worker, now);
    bed.reload(&pool("p", &[(7, 1, 1)], Balance::RoundRobin));
    assert_eq!(bed.answer(&lease, Verdict::InvalidKey, &[]), None);
    assert_eq!(bed.zone().next_deadline(), None);
    let worker = bed.worker(2);
    assert!(bed.acquire(worker).is_some());
}

#[test]
fn a_lock_is_not_handed_over_with_a_key_that_is_out() {
    let (mut bed, worker) = bed(&[1]);
    let lease = bed.acquire(worker).unwrap();
    let lock = Lock::new(9, 1, bed.now + TTL);
    bed.zone().locked(lease.handle, lock).unwrap();
    let (tag, _) = bed.wait(worker, 0);
    bed.answer(&lease, Verdict::RateLimited, &[("retry-after-ms", "50")]);
    let rule = HandOver {
        to_others: true,
        most: 9,
        longest_ms: None,
        left_ms: 0,
        generation: bed.generation,
        retain: None,
    };
    let now = bed.clock();
    let ended = bed.zone().end(lease.handle, rule, now);
    assert_eq!(ended, Ok(Ended::Locked(lock)));
    bed.release(lease).unwrap();
    assert_eq!(bed.served(worker), [0u64; 0]);
    bed.now += 50;
    bed.expire();
    assert_eq!(bed.served(worker), [tag]);
}

#[test]
fn a_waiter_is_not_served_with_a_key_that_it_must_not_have() {
    let (mut bed, worker) = bed(&[1, 1]);
    let leases = [bed.acquire(worker).unwrap(), bed.acquire(worker).unwrap()];
    let mut want = bed.want(worker);
    want.avoid.push(leases[0].key);
    want.avoid = want.avoid.strict(true);
    bed.zone().enqueue(&want).unwrap();
    let (next, _) = bed.wait(worker, 0);
    bed.release(leases[0]).unwrap();
    assert_eq!(bed.served(worker), [next], "who comes later may have it");
    bed.release(leases[1]).unwrap();
    assert_eq!(bed.served(worker), [want.tag]);
}

#[test]
fn the_outlook_says_why_nothing_is_free() {
    let (mut bed, worker) = bed(&[1, 1]);
    let a = bed.acquire(worker).unwrap();
    let b = bed.acquire(worker).unwrap();
    assert_eq!(bed.outlook(worker), Outlook::Busy);
    bed.answer(&a, Verdict::InvalidKey, &[]);
    assert_eq!(bed.outlook(worker), Outlook::Busy, "the other is only held");
    bed.answer(&b, Verdict::RateLimited, &[("retry-after", "90")]);
    let soonest_ms = 90_000;
    assert_eq!(bed.outlook(worker), Outlook::CoolingDown { soonest_ms });
    bed.now += 1_000;
    let soonest_ms = 89_000;
    assert_eq!(bed.outlook(worker), Outlook::CoolingDown { soonest_ms });
    bed.answer(&b, Verdict::QuotaExceeded, &[]);
    let soonest_ms = 59_000;
    assert_eq!(bed.outlook(worker), Outlook::Unhealthy { soonest_ms });
    bed.now += soonest_ms;
    bed.expire();
    assert_eq!(bed.outlook(worker), Outlook::Busy);
}

/// Applies a configuration with the same keys and changed lines.
fn reload_with_lines(bed: &mut Bed, lines: &[u64]) {
    let keys: Vec<_> = (0..lines.len() as u8).map(|n| (n, 2, 1)).collect();
    let mut config = super::bed::pool("p", &keys, Balance::RoundRobin);
    for (key, &line) in config.keys.iter_mut().zip(lines) {
        key.line = line;
    }
    bed.reload(&config);
}

#[test]
fn a_changed_line_ends_a_cool_down_and_an_unchanged_one_keeps_it() {
    for cause in [Cause::InvalidKey, Cause::QuotaExceeded, Cause::RateLimited] {
        let keys = [(0, 2, 1), (1, 2, 1)];
        let mut bed = Bed::new(&super::bed::pool("p", &keys, Balance::RoundRobin));
        let now = bed.clock();
        let until_ms = now.mono_ms + 3_600_000;
        for key in [0, 1] {
            bed.zone()
                .learn_cool_down(key, cause, 3, until_ms, now)
                .unwrap();
        }
        reload_with_lines(&mut bed, &[1, 1]);
        let now = bed.clock();
        assert!(bed.zone().is_cooling_down(0, now) && bed.zone().is_cooling_down(1, now));
        reload_with_lines(&mut bed, &[1, 2]);
        let now = bed.clock();
        assert!(bed.zone().is_cooling_down(0, now), "its line is the same");
        assert!(!bed.zone().is_cooling_down(1, now), "{cause:?}");
        let worker = bed.worker(5);
        let grant = bed.acquire(worker).unwrap();
        assert_eq!(grant.key, 1);
        assert!(bed.acquire(worker).is_none(), "it is on probation");
        // Reports of the cancelled cool-down are ignored; reports of a new one are not.
        let mut zone = bed.zone();
        assert_eq!(zone.learn_cool_down(1, cause, 3, until_ms, now), None);
        assert!(!zone.is_cooling_down(1, now));
        assert!(
            zone.learn_cool_down(1, cause, 4, until_ms + 5_000, now)
                .is_some()
        );
        assert!(zone.is_cooling_down(1, now));
        // An unchanged line has no effect.
        reload_with_lines(&mut bed, &[1, 2]);
        let now = bed.clock();
        assert!(bed.zone().is_cooling_down(1, now));
    }
}

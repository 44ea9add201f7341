//! Cool-downs and recovery of keys, with a simulated clock.

use openai_wire::Verdict;

use super::bed::{Bed, TTL, pool};
use crate::lease::*;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// A pool of keys with these numbers of slots.
pub(super) fn bed(slots: &[u32]) -> (Bed, WorkerId) {
    let keys: Vec<_> = (1..).zip(slots).map(|(n, &slots)| (n, slots, 1)).collect();
    let mut bed = Bed::new(&pool("p", &keys, Balance::RoundRobin));
    let worker = bed.worker(1);
    (bed, worker)
}

/// A request with the key, with this verdict.
pub(super) fn serve(bed: &mut Bed, worker: WorkerId, verdict: Verdict, headers: &[(&str, &str)]) {
    let grant = bed.acquire(worker).expect("a key");
    bed.answer(&grant, verdict, headers);
    bed.release(grant).unwrap();
}

/// The longest random cool-down with that bound: the tests use the largest random number.
fn most(ms: u64) -> u64 {
    1 + u64::MAX % ms
}

/// The length of the only key's cool-down, found by trying each millisecond around its end.
fn out_for(bed: &mut Bed, worker: WorkerId) -> u64 {
    let left = bed.view(0).left_ms;
    assert!(bed.acquire(worker).is_none());
    let from = bed.now;
    bed.now = from + left - 1;
    assert!(bed.acquire(worker).is_none(), "a moment too soon");
    bed.now = from + left;
    let grant = bed.acquire(worker).expect("back");
    bed.release(grant).unwrap();
    left
}

#[test]
fn each_verdict_has_its_cool_down() {
    for (verdict, headers, expected) in [
        (Verdict::InvalidKey, &[][..], MINUTE),
        (Verdict::QuotaExceeded, &[], HOUR),
        (Verdict::QuotaExceeded, &[("retry-after", "7200")], 2 * HOUR),
        (Verdict::QuotaExceeded, &[("retry-after", "1")], HOUR),
        (Verdict::RateLimited, &[("retry-after-ms", "250")], 250),
        (Verdict::RateLimited, &[("retry-after", "3")], 3_000),
        (Verdict::RateLimited, &[], most(1_000)),
    ] {
        let (mut bed, worker) = bed(&[1]);
        serve(&mut bed, worker, verdict, headers);
        assert_eq!(
            out_for(&mut bed, worker),
            expected,
            "{verdict:?} {headers:?}"
        );
    }
}

#[test]
fn a_cool_down_lasts_until_the_latest_reset_among_the_limits_used_up() {
    let (mut bed, worker) = bed(&[1]);
    let headers = [
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "2s"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "6m0s"),
        ("retry-after-ms", "100"),
    ];
    serve(&mut bed, worker, Verdict::RateLimited, &headers);
    assert_eq!(bed.view(0).cause, Some(Cause::RateLimited));
    assert_eq!(out_for(&mut bed, worker), 6 * MINUTE);
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
fn cool_downs_double_up_to_their_longest_and_a_good_answer_ends_that() {
    let (mut bed, worker) = bed(&[1]);
    let times = |bed: &mut Bed, verdict, n: usize| -> Vec<u64> {
        let mut time = || {
            serve(bed, worker, verdict, &[]);
            out_for(bed, worker)
        };
        (0..n).map(|_| time()).collect()
    };
    let revoked = times(&mut bed, Verdict::InvalidKey, 8);
    assert_eq!(revoked, [1, 2, 4, 8, 16, 32, 60, 60].map(|n| n * MINUTE));
    assert_eq!(bed.view(0).failures, 8);
    serve(&mut bed, worker, Verdict::Ok, &[]);
    assert_eq!(bed.view(0).failures, 0);
    let rate = times(&mut bed, Verdict::RateLimited, 8);
    let bounds = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
    assert_eq!(rate, bounds.map(most));
    bed.random = 0;
    serve(&mut bed, worker, Verdict::RateLimited, &[]);
    assert_eq!(
        out_for(&mut bed, worker),
        1,
        "full jitter begins at nothing"
    );
}

#[test]
fn the_pool_states_the_cool_downs() {
    let mut config = pool("p", &[(1, 1, 1)], Balance::RoundRobin);
    config.policy = KeyPolicy {
        rate_limited_ms: 3,
        rate_limited_max_ms: 5,
        quota_exceeded_ms: 7,
        invalid_key_ms: 11,
        ..KeyPolicy::default()
    };
    let mut bed = Bed::new(&config);
    let worker = bed.worker(1);
    for (verdict, expected) in [
        (Verdict::RateLimited, most(3)),
        (Verdict::RateLimited, most(5)),
        (Verdict::QuotaExceeded, 7),
        (Verdict::Ok, 0),
        (Verdict::InvalidKey, 11),
    ] {
        serve(&mut bed, worker, verdict, &[]);
        if expected > 0 {
            assert_eq!(out_for(&mut bed, worker), expected, "{verdict:?}");
        }
    }
}

#[test]
fn a_later_shorter_answer_does_not_shorten_a_cool_down() {
    let (mut bed, worker) = bed(&[3]);
    let leases: Vec<_> = (0..3).map(|_| bed.acquire(worker).unwrap()).collect();
    bed.answer(&leases[0], Verdict::RateLimited, &[("retry-after", "10")]);
    bed.now += 1_000;
    let shorter = bed.answer(&leases[1], Verdict::RateLimited, &[("retry-after", "2")]);
    assert_eq!(shorter, None);
    assert_eq!(bed.view(0).left_ms, 9_000);
    bed.answer(&leases[2], Verdict::Ok, &[]);
    assert_eq!(bed.view(0).left_ms, 9_000, "nor does a good one");
    let longer = bed.answer(&leases[1], Verdict::RateLimited, &[("retry-after", "20")]);
    let until_ms = bed.now + 20_000;
    let expected = KeyChange::CoolingDown {
        cause: Cause::RateLimited,
        until_ms,
        failures: 1,
    };
    assert_eq!(longer, Some(expected));
}

#[test]
fn answers_to_requests_sent_together_are_one_failure() {
    let (mut bed, worker) = bed(&[5]);
    let leases: Vec<_> = (0..5).map(|_| bed.acquire(worker).unwrap()).collect();
    let turns: Vec<_> = leases
        .iter()
        .map(|lease| bed.answer(lease, Verdict::InvalidKey, &[]))
        .collect();
    assert!(turns[0].is_some());
    assert_eq!(turns[1..], [None; 4]);
    let view = bed.view(0);
    assert_eq!((view.failures, view.left_ms), (1, MINUTE));
}

#[test]
fn a_graver_cause_takes_over_and_a_lighter_one_does_not() {
    let (mut bed, worker) = bed(&[3]);
    let leases: Vec<_> = (0..3).map(|_| bed.acquire(worker).unwrap()).collect();
    bed.answer(
        &leases[0],
        Verdict::RateLimited,
        &[("retry-after-ms", "100")],
    );
    assert!(bed.answer(&leases[1], Verdict::InvalidKey, &[]).is_some());
    assert_eq!(bed.view(0).cause, Some(Cause::InvalidKey));
    bed.answer(&leases[2], Verdict::RateLimited, &[("retry-after", "7200")]);
    let view = bed.view(0);
    assert_eq!(
        (view.cause, view.left_ms),
        (Some(Cause::InvalidKey), 2 * HOUR)
    );
}

#[test]
fn a_key_on_trial_has_one_lease_then_twice_as_many() {
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
fn leases_from_before_the_cool_down_are_no_part_of_the_trial() {
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
    assert!(bed.acquire(worker).is_none(), "still one on trial");
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
fn a_slot_held_elsewhere_is_no_part_of_the_trial() {
    let (mut bed, worker) = bed(&[3]);
    let now = bed.clock();
    bed.zone()
        .learn_cool_down(0, Cause::RateLimited, 0, now.mono_ms + 10, now);
    bed.now += 10;
    let first = bed.acquire(worker).unwrap();
    assert!(bed.acquire(worker).is_none());
    let until = bed.now + 100;
    bed.zone().taken_elsewhere(first.handle, until).unwrap();
    let second = bed.acquire(worker).expect("another slot to try");
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
    assert_eq!(bed.served(worker), [0u64; 0], "one on trial");
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
    assert!(bed.acquire(worker).is_none(), "still on trial");
    bed.reload(&pool("p", &[(1, 3, 1)], Balance::RoundRobin));
    let worker = bed.worker(3);
    assert!(bed.acquire(worker).is_none(), "still on trial");
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
        assert!(bed.acquire(worker).is_none(), "it is on trial");
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

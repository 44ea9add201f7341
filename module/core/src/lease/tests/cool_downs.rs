//! How long keys cool down.

use openai_wire::Verdict;

use super::bed::{Bed, pool};
use super::health::{HOUR, MINUTE, bed, most, serve};
use crate::lease::*;

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
fn cool_downs_double_up_to_their_longest_and_a_good_answer_ends_that() {
    let (mut bed, worker) = bed(&[1]);
    let times = |bed: &mut Bed, verdict, n: usize| -> Vec<u64> {
        let mut time = || {
            serve(bed, worker, verdict, &[]);
            out_for(bed, worker)
        };
        (0..n).map(|_| time()).collect()
    };
    let invalid = times(&mut bed, Verdict::InvalidKey, 8);
    assert_eq!(invalid, [1, 2, 4, 8, 16, 32, 60, 60].map(|n| n * MINUTE));
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

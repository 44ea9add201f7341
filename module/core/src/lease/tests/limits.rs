//! Keys get no more leases than the provider's and the configured limits allow.

use openai_wire::Verdict;
use proptest::prelude::*;

use super::bed::{Bed, pool};
use crate::lease::*;

const MINUTE: u64 = 60_000;

fn bed(slots: &[u32], policy: KeyPolicy) -> (Bed, WorkerId) {
    let keys: Vec<_> = (1..).zip(slots).map(|(n, &slots)| (n, slots, 1)).collect();
    let mut config = pool("p", &keys, Balance::RoundRobin);
    config.policy = policy;
    let mut bed = Bed::new(&config);
    let worker = bed.worker(1);
    (bed, worker)
}

fn told<'a>(left: &'a str, reset: &'a str) -> [(&'static str, &'a str); 2] {
    [
        ("x-ratelimit-remaining-requests", left),
        ("x-ratelimit-reset-requests", reset),
    ]
}

fn wanting(bed: &mut Bed, worker: WorkerId, tokens: u32) -> Want {
    Want {
        tokens,
        ..bed.want(worker)
    }
}

fn take(bed: &mut Bed, worker: WorkerId, tokens: u32) -> Option<Grant> {
    let (want, now) = (wanting(bed, worker, tokens), bed.clock());
    bed.zone().acquire(&want, now)
}

#[test]
fn a_key_with_two_requests_left_is_not_given_five() {
    let (mut bed, worker) = bed(&[9], KeyPolicy::default());
    let first = bed.acquire(worker).unwrap();
    assert_eq!(bed.answer(&first, Verdict::Ok, &told("2", "500ms")), None);
    assert_eq!(bed.view(0).requests, Some(2));
    let given = std::iter::from_fn(|| bed.acquire(worker)).count();
    assert_eq!(given, 2);
    let view = bed.view(0);
    assert_eq!(
        (view.cause, view.left_ms),
        (Some(Cause::ProviderLimit), 500)
    );
    bed.now += 500;
    assert!(bed.acquire(worker).is_some());
    let view = bed.view(0);
    assert_eq!(
        (view.on_probation, view.failures),
        (false, 0),
        "it did nothing wrong"
    );
}

#[test]
fn what_is_left_is_corrected_by_the_grants_since() {
    let (mut bed, worker) = bed(&[9], KeyPolicy::default());
    let first = bed.acquire(worker).unwrap();
    let second = bed.acquire(worker).unwrap();
    for _ in 0..2 {
        bed.acquire(worker).unwrap();
    }
    // The first response does not include the three later requests, the second does not include two
    // of them.
    bed.answer(&second, Verdict::Ok, &told("4", "1s"));
    assert_eq!(bed.view(0).requests, Some(2));
    bed.answer(&first, Verdict::Ok, &told("5", "1s"));
    assert_eq!(bed.view(0).requests, Some(2));
    bed.answer(&first, Verdict::Ok, &told("3", "1s"));
    assert_eq!(bed.view(0).cause, Some(Cause::ProviderLimit));
    bed.answer(&second, Verdict::Ok, &told("9", "1s"));
    assert_eq!(bed.view(0).cause, None, "news ends it");
    assert_eq!(bed.view(0).requests, Some(7));
}

#[test]
fn a_request_that_was_not_sent_leaves_more() {
    let (mut bed, worker) = bed(&[9], KeyPolicy::default());
    let first = bed.acquire(worker).unwrap();
    bed.answer(&first, Verdict::Ok, &told("1", "1s"));
    let unused = bed.acquire(worker).unwrap();
    assert_eq!(bed.view(0).cause, Some(Cause::ProviderLimit));
    let now = bed.clock();
    bed.zone().unused(unused.handle, now).unwrap();
    bed.release(unused).unwrap();
    assert_eq!(bed.view(0).requests, Some(1));
    let second = bed.acquire(worker).expect("it is left");
    assert!(bed.acquire(worker).is_none());
    bed.answer(&second, Verdict::Ok, &told("1", "1s"));
    assert_eq!(bed.view(0).requests, Some(1), "and counts not as one since");
}

#[test]
fn once_whole_again_a_limit_bounds_what_is_given_before_the_next_answer() {
    let (mut bed, worker) = bed(&[9], KeyPolicy::default());
    let first = bed.acquire(worker).unwrap();
    let mut headers = told("0", "100ms").to_vec();
    headers.push(("x-ratelimit-limit-requests", "3"));
    bed.answer(&first, Verdict::Ok, &headers);
    assert!(bed.acquire(worker).is_none());
    bed.now += 100;
    assert_eq!(std::iter::from_fn(|| bed.acquire(worker)).count(), 3);
    // No response states the limits: after a second the key is tried again.
    bed.now += 1_000;
    assert!(bed.acquire(worker).is_some());
}

#[test]
fn tokens_left_steer_the_choice() {
    let (mut bed, worker) = bed(&[9, 9], KeyPolicy::default());
    let first = bed.acquire(worker).unwrap();
    let headers = [
        ("x-ratelimit-remaining-tokens", "100"),
        ("x-ratelimit-reset-tokens", "6s"),
    ];
    bed.answer(&first, Verdict::Ok, &headers);
    for _ in 0..4 {
        assert_eq!(
            take(&mut bed, worker, 101).unwrap().key,
            1,
            "it has too few"
        );
    }
    assert_eq!(take(&mut bed, worker, 60).unwrap().key, 0);
    assert_eq!(bed.view(0).tokens, Some(40));
    let now = bed.clock();
    bed.zone()
        .learn_cool_down(1, Cause::RateLimited, 0, now.mono_ms + MINUTE, now);
    assert_eq!(
        take(&mut bed, worker, 60).unwrap().key,
        0,
        "rather than none"
    );
    assert_eq!(bed.view(0).cause, Some(Cause::ProviderLimit));
    assert!(take(&mut bed, worker, 0).is_none());
}

#[test]
fn requests_a_minute_are_kept_to() {
    let policy = KeyPolicy {
        rpm: 60,
        ..KeyPolicy::default()
    };
    let (mut bed, worker) = bed(&[1], policy);
    let mut given = vec![];
    let start = bed.now;
    for _ in 0..24_000 {
        if let Some(grant) = bed.acquire(worker) {
            given.push(bed.now - start);
            bed.release(grant).unwrap();
        }
        bed.now += 5;
    }
    assert_eq!(given.len(), 60 + 119, "a minute's worth, then one a second");
    assert!(given[60..].iter().zip(1..).all(|(&at, n)| at == n * 1_000));
    assert_eq!(bed.view(0).failures, 0);
}

#[test]
fn tokens_a_minute_are_settled_by_what_was_used() {
    let policy = KeyPolicy {
        tpm: 6_000,
        ..KeyPolicy::default()
    };
    let (mut bed, worker) = bed(&[9], policy);
    let big = take(&mut bed, worker, 5_900).unwrap();
    let over = take(&mut bed, worker, 1_000).expect("something is left");
    assert_eq!(bed.view(0).cause, Some(Cause::ConfiguredLimit));
    assert!(take(&mut bed, worker, 1).is_none());
    // The bucket is at -900 tokens and gets 100 per second.
    assert_eq!(bed.view(0).left_ms, 9_001);
    let now = bed.clock();
    bed.zone().settle(&over, 100, now);
    assert_eq!(bed.view(0).left_ms, 1);
    bed.zone().settle(&big, 900, now);
    assert_eq!(bed.view(0).cause, None);
    let third = take(&mut bed, worker, 4_000).unwrap();
    bed.zone().settle(&third, u64::MAX, now);
    assert_eq!(
        bed.view(0).cause,
        Some(Cause::ConfiguredLimit),
        "whatever is claimed"
    );
    bed.now += 2 * 86_400_000;
    bed.expire();
}

#[test]
fn settling_serves_who_waits() {
    let policy = KeyPolicy {
        tpm: 600,
        ..KeyPolicy::default()
    };
    let (mut bed, worker) = bed(&[2], policy);
    let first = take(&mut bed, worker, 600).unwrap();
    let (tag, _) = bed.wait(worker, 0);
    let now = bed.clock();
    bed.zone().settle(&first, 10, now);
    assert_eq!(bed.served(worker), [tag]);
}

#[test]
fn nothing_is_charged_to_a_limit_that_is_not_configured() {
    for (before, after) in [((500, 0), (500, 10)), ((0, 1_000_000), (10, 1_000_000))] {
        let policy = |(rpm, tpm)| KeyPolicy {
            rpm,
            tpm,
            ..KeyPolicy::default()
        };
        let (mut bed, worker) = bed(&[50], policy(before));
        for _ in 0..40 {
            take(&mut bed, worker, 1_000).expect("a slot");
        }
        let mut config = pool("p", &[(1, 50, 1)], Balance::RoundRobin);
        config.policy = policy(after);
        bed.now += 10;
        bed.reload(&config);
        let worker = bed.worker(2);
        bed.now += MINUTE;
        let taken = take(&mut bed, worker, 1);
        assert!(taken.is_some(), "{after:?}: {:?}", bed.view(0).left_ms);
    }
}

#[test]
fn a_clock_that_lags_refills_nothing_twice() {
    let policy = KeyPolicy {
        rpm: 60,
        ..KeyPolicy::default()
    };
    let (mut bed, worker) = bed(&[64], policy);
    for _ in 0..60 {
        bed.acquire(worker).expect("a slot");
    }
    bed.now += 1_000;
    let last = bed.acquire(worker).expect("one a second");
    // Another worker looks with the time of before, and a slot is charged and taken back.
    let behind = Now {
        mono_ms: bed.now - 900,
        ..bed.clock()
    };
    bed.zone().unused(last.handle, behind).expect("it is held");
    bed.acquire(worker).expect("what was put back");
    bed.now += 100;
    assert!(bed.acquire(worker).is_none(), "a tenth of a second");
}

#[test]
fn limits_of_the_configuration_come_and_go_with_a_reload() {
    let policy = KeyPolicy {
        rpm: 1,
        ..KeyPolicy::default()
    };
    let (mut bed, worker) = bed(&[5], policy);
    bed.acquire(worker).unwrap();
    assert_eq!(bed.view(0).left_ms, MINUTE);
    let mut config = pool("p", &[(1, 5, 1)], Balance::RoundRobin);
    config.policy.rpm = 6;
    bed.now += 10;
    bed.reload(&config);
    let worker = bed.worker(2);
    assert!(
        bed.acquire(worker).is_none(),
        "what it has had still counts"
    );
    assert_eq!(bed.view(0).left_ms, 9_990);
    config.policy.rpm = 0;
    bed.reload(&config);
    let worker = bed.worker(3);
    assert!(bed.acquire(worker).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// In any order of events, a key gets no more than a full bucket and the refill.
    #[test]
    fn no_key_is_given_more_than_is_stated(
        rpm in 1u32..500,
        tpm in 1u32..5_000,
        steps in proptest::collection::vec((0u64..3_000, 0u32..200, any::<bool>()), 1..200),
    ) {
        let policy = KeyPolicy { rpm, tpm, ..KeyPolicy::default() };
        let (mut bed, worker) = bed(&[1], policy);
        let start = bed.now;
        let (mut requests, mut tokens) = (0u64, 0u64);
        for (pass, estimate, settles) in steps {
            bed.now += pass;
            let Some(grant) = take(&mut bed, worker, estimate) else { continue };
            let minutes = |rate: u32| {
                u64::from(rate) + (bed.now - start) * u64::from(rate) / MINUTE
            };
            requests += 1;
            prop_assert!(requests <= minutes(rpm));
            prop_assert!(tokens <= minutes(tpm), "only the last one goes into debt");
            tokens += u64::from(estimate);
            if settles {
                let used = u64::from(estimate / 2);
                let now = bed.clock();
                bed.zone().settle(&grant, used, now);
                tokens -= u64::from(estimate) - used;
            }
            bed.release(grant).unwrap();
        }
    }

    /// A key is idle only while a limit requires it.
    #[test]
    fn what_is_due_is_given(rpm in 2u32..500, pass in 50u64..5_000) {
        let policy = KeyPolicy { rpm, ..KeyPolicy::default() };
        let (mut bed, worker) = bed(&[1], policy);
        let start = bed.now;
        let mut given = 0u64;
        while bed.now - start < 10 * MINUTE {
            while let Some(grant) = bed.acquire(worker) {
                given += 1;
                bed.release(grant).unwrap();
            }
            let due = u64::from(rpm) + (bed.now - start) * u64::from(rpm) / MINUTE;
            prop_assert_eq!(given, due);
            bed.now += pass;
        }
    }
}

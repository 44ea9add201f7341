use openai_wire::{ApiError, Head, Verdict};

use super::*;
use crate::lease::Outlook;

#[test]
fn the_same_fault_of_an_upstream_is_met_twice() {
    let mut errors = UpstreamErrors::default();
    assert!(!errors.note(0, Fault::Status(500)));
    assert!(!errors.note(0, Fault::Status(503)), "another fault");
    assert!(!errors.note(1, Fault::Status(500)), "another upstream");
    assert!(errors.note(0, Fault::Status(503)));
    assert!(!errors.note(0, Fault::Timeout));
    assert!(!errors.note(0, Fault::Error));
    assert!(errors.note(0, Fault::Timeout));
    errors.clear();
    assert!(!errors.note(0, Fault::Status(500)));
}

#[test]
fn the_bound_of_a_pause_doubles() {
    let mut errors = UpstreamErrors::default();
    let longest = |errors: &UpstreamErrors| {
        let pauses = (0..20_000).map(|random| errors.pause_ms(3, u64::MAX, random));
        pauses.max().unwrap()
    };
    assert_eq!(longest(&errors), 0, "nothing has failed");
    errors.note(4, Fault::Error);
    assert_eq!(longest(&errors), 0, "another upstream");
    for bound in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
        errors.note(3, Fault::Error);
        assert_eq!(longest(&errors), bound);
        assert_eq!(errors.pause_ms(3, u64::MAX, 0), 0, "full jitter");
    }
    for _ in 0..100 {
        errors.note(3, Fault::Error);
    }
    assert_eq!(longest(&errors), 5_000);
}

#[test]
fn a_pause_ends_within_the_time_limit() {
    let mut errors = UpstreamErrors::default();
    errors.note(0, Fault::Timeout);
    for left_ms in [0, 1, 2, 50] {
        for random in 0..500 {
            let pause = errors.pause_ms(0, left_ms, random);
            assert!(pause < left_ms.max(1), "{pause} of {left_ms}");
        }
    }
}

fn chosen(prospects: &[Prospect], later: &[usize], never: &[usize]) -> Result<usize, ApiError> {
    let [later, never] = [later, never].map(|all| {
        let mut set = TargetSet::default();
        all.iter().for_each(|&at| set.add(at));
        set
    });
    choose(prospects.len(), later, never, |at| prospects[at])
}

fn cooling(soonest_ms: u64, in_time: bool) -> Prospect {
    Prospect::CoolingDown {
        soonest_ms,
        in_time,
    }
}

const OPEN: Prospect = Prospect::Open { ms: 1_500 };
const UNHEALTHY: Prospect = Prospect::Unhealthy { soonest_ms: 9_001 };

#[test]
fn the_first_target_with_a_key_is_chosen() {
    use Prospect::{Key, None};
    assert_eq!(chosen(&[Key, Key], &[], &[]), Ok(0));
    assert_eq!(chosen(&[None, OPEN, UNHEALTHY, Key], &[], &[]), Ok(3));
    assert_eq!(chosen(&[Key, Key, Key], &[0], &[]), Ok(1), "others first");
    assert_eq!(chosen(&[Key, None], &[0], &[]), Ok(0), "but it is one");
    assert_eq!(chosen(&[Key, Key], &[0], &[1]), Ok(0));
    assert_eq!(chosen(&[cooling(10, true), Key], &[], &[]), Ok(1));
    let waits = [cooling(10, false), cooling(20, true), cooling(5, true)];
    assert_eq!(chosen(&waits, &[], &[]), Ok(1), "the first in time");
}

#[test]
fn a_target_that_is_found_ends_the_search() {
    let set = TargetSet::default();
    let mut asked = vec![];
    let found = choose(3, set, set, |at| {
        asked.push(at);
        if at == 1 { Prospect::Key } else { OPEN }
    });
    assert_eq!((found, asked), (Ok(1), vec![0, 1]));
}

#[test]
fn without_a_target_the_reason_is_returned() {
    let limited = |retry_after| Err(ApiError::KeysRateLimited { retry_after });
    let unhealthy = |retry_after| Err(ApiError::NoHealthyKey { retry_after });
    let late = cooling(4_200, false);
    assert_eq!(chosen(&[late, UNHEALTHY], &[], &[]), limited(5));
    assert_eq!(
        chosen(&[late, OPEN], &[], &[]),
        limited(2),
        "whichever is sooner"
    );
    assert_eq!(
        chosen(&[OPEN, UNHEALTHY], &[], &[]),
        Err(ApiError::UpstreamsOpen { retry_after: 2 })
    );
    assert_eq!(
        chosen(&[UNHEALTHY, Prospect::None], &[], &[]),
        unhealthy(10)
    );
    assert_eq!(chosen(&[Prospect::None], &[], &[]), unhealthy(1));
    assert_eq!(chosen(&[Prospect::Key], &[], &[0]), unhealthy(1));
    assert_eq!(chosen(&[], &[], &[]), unhealthy(1));
}

#[test]
fn a_request_that_waited_in_vain_is_told_why() {
    let cool = Some(Outlook::CoolingDown { soonest_ms: 2_001 });
    let unhealthy = Some(Outlook::Unhealthy { soonest_ms: 100 });
    let none = |retry_after| ApiError::NoKeyAvailable { retry_after };
    assert_eq!(no_key(Some(Outlook::Busy), false, 0), none(1));
    assert_eq!(no_key(None, false, 3_999), none(3));
    assert_eq!(no_key(Some(Outlook::Tried), false, 60_000), none(5));
    let full = |retry_after| ApiError::QueueFull { retry_after };
    assert_eq!(no_key(Some(Outlook::Busy), true, 2_000), full(2));
    assert_eq!(no_key(cool, true, 2_000), full(3));
    assert_eq!(
        no_key(cool, false, 2_000),
        ApiError::KeysRateLimited { retry_after: 3 }
    );
    for queue_full in [false, true] {
        assert_eq!(
            no_key(unhealthy, queue_full, 2_000),
            ApiError::NoHealthyKey { retry_after: 1 }
        );
    }
}

#[test]
fn a_retry_after_is_at_least_a_second() {
    assert_eq!([0, 1, 1_000, 1_001].map(seconds), [1, 1, 1, 2]);
    assert_eq!(seconds(u64::MAX), u32::MAX);
}

#[test]
fn only_what_another_key_may_cure_is_tried_again() {
    use Verdict::{ClientError, InvalidKey, Ok, RateLimited, UpstreamError};
    assert!(!may_be_retried(200, Ok, false, false));
    assert!(may_be_retried(500, UpstreamError, false, false));
    assert!(may_be_retried(400, ClientError, false, false));
    assert!(!may_be_retried(403, ClientError, true, false));
    assert!(may_be_retried(429, RateLimited, true, false));
    assert!(!may_be_retried(429, RateLimited, true, true));
    assert!(
        may_be_retried(401, InvalidKey, true, true),
        "is about the key"
    );
}

fn failure(verdict: Verdict) -> Failure {
    Failure {
        fault: Fault::Status(500),
        verdict,
        stale: false,
        key_is_cooling: true,
    }
}

#[test]
fn attempts_that_say_nothing_do_not_count() {
    assert!(failure(Verdict::UpstreamError).counts());
    assert!(failure(Verdict::UpstreamError).is_upstream_error());
    assert!(failure(Verdict::RateLimited).counts());
    assert!(!failure(Verdict::InvalidKey).counts());
    let stale = Failure {
        stale: true,
        ..failure(Verdict::UpstreamError)
    };
    assert!(!stale.counts() && !stale.is_upstream_error());
    let still_used = Failure {
        key_is_cooling: false,
        ..failure(Verdict::QuotaExceeded)
    };
    assert!(still_used.counts() && !still_used.excludes_key());
}

#[test]
fn retries_end_with_the_budget_or_the_targets() {
    const NO_KEY: ApiError = ApiError::NoHealthyKey { retry_after: 7 };
    const NO_TARGET: ApiError = ApiError::UpstreamsOpen { retry_after: 3 };
    let after = |verdict, used_up, only_key, next| {
        after_failure(&failure(verdict), used_up, only_key, || next, || NO_KEY)
    };
    let (keep, refused) = (AfterFailure::Keep, AfterFailure::Refuse(NO_TARGET));
    for verdict in [Verdict::UpstreamError, Verdict::RateLimited] {
        assert_eq!(after(verdict, true, false, Ok(0)), keep);
    }
    assert_eq!(
        after(Verdict::InvalidKey, true, false, Ok(0)),
        AfterFailure::Refuse(NO_KEY),
        "the client's own token is valid"
    );
    for verdict in [Verdict::UpstreamError, Verdict::InvalidKey] {
        assert_eq!(after(verdict, false, true, Ok(2)), AfterFailure::Again(2));
    }
    let none = Err(NO_TARGET);
    assert_eq!(after(Verdict::UpstreamError, false, false, none), keep);
    assert_eq!(after(Verdict::RateLimited, false, true, none), keep);
    assert_eq!(after(Verdict::RateLimited, false, false, none), refused);
    assert_eq!(after(Verdict::QuotaExceeded, false, true, none), refused);
}

#[test]
fn attempts_are_limited_in_number_and_time() {
    let retries = Retries {
        attempts: 3,
        uncounted: 1,
        first_asked_ms: 100,
        ..Retries::default()
    };
    assert!(!retries.are_used_up(3, 30_000, 110));
    assert!(retries.are_used_up(2, 30_000, 110));
    assert!(!retries.are_used_up(3, 30_000, 30_099));
    assert!(retries.are_used_up(3, 30_000, 30_100));
}

#[test]
fn tokens_are_estimated_from_the_body_and_the_limit() {
    let head = |max_tokens, choices| Head {
        max_tokens,
        choices,
        ..Head::default()
    };
    assert_eq!(estimated_tokens(&head(None, None), 400), 100);
    assert_eq!(estimated_tokens(&head(Some(50), None), 400), 150);
    assert_eq!(estimated_tokens(&head(Some(50), Some(3)), 400), 250);
    let images = estimated_tokens(&head(None, None), 20 << 20);
    assert_eq!(images, 32_768);
    let most = head(Some(u32::MAX), Some(u32::MAX));
    assert_eq!(estimated_tokens(&most, u64::MAX), u32::MAX);
}

fn held(words: &[&str]) -> Vec<Fault> {
    let conditions = Conditions::parse(words).unwrap();
    let statuses = (0..=700).map(Fault::Status);
    let faults = [Fault::Error, Fault::Timeout].into_iter().chain(statuses);
    faults.filter(|&fault| conditions.hold(fault)).collect()
}

#[test]
fn another_key_is_tried_after_the_failures_that_are_listed() {
    assert_eq!(held(&["off"]), []);
    assert_eq!(held(&["timeout"]), [Fault::Timeout]);
    let edges = [400, 463, 464, 599].map(Fault::Status);
    assert_eq!(
        held(&["http_400", "http_599", "http_464", "http_463"]),
        edges
    );
    let default = [
        "error", "timeout", "http_401", "http_403", "http_429", "http_500", "http_502",
    ];
    let default = [&default[..], &["http_503", "http_504"]].concat();
    assert_eq!(Conditions::parse(&default), Ok(Conditions::DEFAULT));
}

#[test]
fn an_unknown_condition_is_named() {
    for wrong in [
        "http_399",
        "http_600",
        "http_",
        "http_+400",
        "ERROR",
        "http_65936",
        "",
    ] {
        assert_eq!(Conditions::parse(&["error", wrong]), Err(wrong));
    }
    assert_eq!(Conditions::parse(&["off", "error"]), Err("off"));
    assert_eq!(Conditions::parse(&["error", "off"]), Err("off"));
}

#[test]
fn a_response_is_complete_as_it_was_sent() {
    use AnswerState::{Awaited, Complete, Drained, Joined, Received, Replaced, Sent, Unsent};
    assert_eq!(Sent(200).completed(false), Complete(200));
    assert_eq!(Sent(200).completed(true), Drained(200));
    assert_eq!(Received(500).completed(false), Replaced(Some(500)));
    assert_eq!(Awaited.completed(true), Replaced(None));
    for state in [Complete(200), Joined(200), Drained(200), Replaced(None)] {
        assert!(state.is_complete());
        assert_eq!(state.completed(true), state, "it already was");
    }
    for state in [Unsent, Awaited, Received(200), Sent(200)] {
        assert!(!state.is_complete());
    }
}

#[test]
fn the_status_of_the_upstream_counts() {
    use AnswerState::{Awaited, Joined, Received, Replaced, Sent};
    assert_eq!(Sent(500).counted(499), Some(500));
    assert_eq!(Joined(200).counted(200), Some(200));
    for state in [Received, |status| Replaced(Some(status))] {
        assert_eq!(state(200).counted(200), Some(200), "a copy");
        assert_eq!(state(502).counted(200), Some(502), "intercepted");
        assert_eq!(state(429).counted(503), Some(429), "intercepted");
        assert_eq!(state(200).counted(502), None, "nginx has failed");
        assert_eq!(state(200).counted(404), Some(404), "a copy of an error");
    }
    for state in [Awaited, Replaced(None)] {
        assert_eq!(state.counted(404), Some(404), "no such file");
        assert_eq!(state.counted(200), None);
        assert_eq!(state.counted(502), None);
    }
}

#[test]
fn an_attempt_without_a_response_is_a_failure_of_the_upstream() {
    let fault = |status, reused| {
        let failure = Failure::without_response(status, reused)?;
        assert_eq!(failure.verdict, Verdict::UpstreamError);
        Some((failure.fault, failure.stale))
    };
    assert_eq!(fault(502, false), Some((Fault::Error, false)));
    assert_eq!(fault(502, true), Some((Fault::Error, true)), "closed");
    assert_eq!(fault(504, true), Some((Fault::Timeout, false)));
    assert_eq!(fault(500, false), None, "nginx itself has failed");
}

#[test]
fn a_failure_is_noted_for_its_key_and_its_upstream() {
    let mut same = TargetSet::default();
    same.add(1);
    let mut retries = Retries::default();
    retries.note(&failure(Verdict::InvalidKey), 7, (same, 1));
    assert_eq!(retries.uncounted, 1);
    assert!(retries.avoid.is_empty() && retries.failed.is_empty());
    retries.note(&failure(Verdict::RateLimited), 7, (same, 1));
    assert!(retries.avoid.contains(7) && retries.failed.is_empty());
    retries.note(&failure(Verdict::UpstreamError), 8, (same, 1));
    assert!(retries.avoid.contains(8) && retries.failed.contains(1));
    assert!(retries.spent.is_empty());
    retries.note(&failure(Verdict::UpstreamError), 8, (same, 1));
    assert!(retries.spent.contains(1), "twice in the same way");
    assert_eq!(retries.uncounted, 1);
}

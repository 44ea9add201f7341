use proptest::prelude::*;

use super::*;

/// Sun, 06 Nov 1994 08:49:37 GMT.
const WALL_MS: u64 = 784_111_777_000;

fn limits(headers: &[(&str, &str)]) -> Limits {
    let mut limits = Limits::default();
    for (name, value) in headers {
        limits.header(name.as_bytes(), value.as_bytes(), WALL_MS);
    }
    limits
}

#[test]
fn durations_in_gos_form_and_plain() {
    for (text, ms) in [
        ("12ms", Some(12)),
        ("1s", Some(1_000)),
        ("6m0s", Some(360_000)),
        ("1h2m3.5s", Some(3_723_500)),
        ("1m30.25s", Some(90_250)),
        ("7.66s", Some(7_660)),
        ("500µs", Some(1)),
        ("1ns", Some(1)),
        ("0s", Some(0)),
        ("0", Some(0)),
        ("2", Some(2_000)),
        ("0.25", Some(250)),
        ("24h0m0s", Some(MOST_MS)),
        ("9999h", Some(MOST_MS)),
        ("99999999999999999999999999999999h", Some(MOST_MS)),
        ("", None),
        ("-1s", None),
        ("s", None),
        ("1", Some(1_000)),
        ("1x", None),
        ("1s2", None),
        ("1 s", None),
        ("1.2.3s", None),
        (".", None),
        ("1e9", None),
        ("NaN", None),
        ("inf", None),
        ("m1s", None),
    ] {
        let read = limits(&[("x-ratelimit-reset-tokens", text)]);
        assert_eq!(read.tokens.reset_ms, ms, "{text:?}");
    }
}

#[test]
fn retry_after_in_each_form() {
    for (headers, ms) in [
        (&[("retry-after-ms", "1500")][..], Some(1_500)),
        (&[("Retry-After", "2")], Some(2_000)),
        (&[("retry-after", "0.5")], Some(500)),
        (&[("retry-after", " 3 ")], Some(3_000)),
        (
            &[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")],
            Some(30_000),
        ),
        (
            &[("retry-after", "Sunday, 06-Nov-94 08:50:07 GMT")],
            Some(30_000),
        ),
        (&[("retry-after", "Sun Nov  6 08:50:07 1994")], Some(30_000)),
        (&[("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT")], None),
        (
            &[("retry-after", "Sat, 06 Nov 2094 08:49:37 GMT")],
            Some(MOST_MS),
        ),
        (&[("retry-after", "99999999999999999999")], Some(MOST_MS)),
        (&[("retry-after", "0")], None),
        (&[("retry-after", "-5")], None),
        (&[("retry-after", "soon")], None),
        (
            &[("retry-after-ms", "250"), ("retry-after", "1")],
            Some(250),
        ),
        (
            &[("retry-after-ms", "x"), ("retry-after", "1")],
            Some(1_000),
        ),
        (&[], None),
    ] {
        assert_eq!(limits(headers).wait_ms(), ms, "{headers:?}");
    }
}

#[test]
fn the_latest_reset_among_the_limits_that_are_used_up_counts() {
    let of = |requests: &str, tokens: &str, retry: &str| {
        limits(&[
            ("X-RateLimit-Remaining-Requests", requests),
            ("X-RateLimit-Reset-Requests", "2s"),
            ("x-ratelimit-remaining-tokens", tokens),
            ("x-ratelimit-reset-tokens", "6s"),
            ("retry-after-ms", retry),
        ])
        .wait_ms()
    };
    assert_eq!(of("0", "0", "10"), Some(6_000));
    assert_eq!(of("0", "1", "10"), Some(2_000));
    assert_eq!(of("1", "0", ""), Some(6_000));
    assert_eq!(
        of("0", "0", "7000"),
        Some(7_000),
        "as long as it says to wait"
    );
    assert_eq!(of("5", "5", "10"), Some(10));
    assert_eq!(of("5", "5", ""), None);
    assert_eq!(of("-1", "nothing", ""), None, "not a number");
}

#[test]
fn what_is_left_is_read() {
    let limits = limits(&[
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "1s"),
        ("x-ratelimit-limit-tokens", "99999999999999999999999"),
        ("x-ratelimit-remaining-tokens", "1.5"),
        ("x-request-id", "0"),
    ]);
    let expected = Limit {
        full: Some(60),
        left: Some(59),
        reset_ms: Some(1_000),
    };
    assert_eq!(limits.requests, expected);
    assert_eq!(limits.tokens, Limit::default());
}

proptest! {
    #[test]
    fn no_header_brings_more_than_a_day(
        name in prop_oneof![
            Just("retry-after-ms"), Just("retry-after"),
            Just("x-ratelimit-reset-requests"), Just("x-ratelimit-reset-tokens"),
        ],
        value in prop_oneof![
            any::<Vec<u8>>(),
            "[0-9.hmsunµ]{0,40}".prop_map(String::into_bytes),
        ],
        wall_ms: u64,
    ) {
        let mut limits = Limits::default();
        limits.header(b"x-ratelimit-remaining-requests", b"0", wall_ms);
        limits.header(name.as_bytes(), &value, wall_ms);
        prop_assert!(limits.wait_ms().is_none_or(|ms| (1..=MOST_MS).contains(&ms)));
    }
}

#[test]
fn only_the_word_false_forbids_a_retry() {
    assert!(forbids_retry(b"X-Should-Retry", b"false"));
    assert!(forbids_retry(b"x-should-retry", b" False "));
    for value in [&b"true"[..], b"", b"0", b"falsely"] {
        assert!(!forbids_retry(b"x-should-retry", value));
    }
    assert!(!forbids_retry(b"x-should-retry-after", b"false"));
}

//! How keys and circuits do, as `/metrics` reports it.

use e2e::Gateway;

use super::counters::Metrics;
use crate::failover;

fn plan(keys: usize, faults: &str) -> e2e::Plan {
    failover::plan(keys, faults).server("location = /metrics { openai off; openai_metrics; }")
}

/// The value of the only series of a name with these labels.
fn value(gateway: &Gateway, name: &str, labels: &[&str]) -> Option<f64> {
    Metrics::of(gateway).value(name, labels)
}

#[test]
fn each_attempt_counts_for_its_key() {
    let faults = [
        failover::key_is(1, "revoked"),
        failover::key_gets(2, "status = 429\nretry-after = \"600s\""),
        failover::key_gets(3, "status = 500"),
    ]
    .concat();
    let gateway = plan(4, &faults)
        .location("openai_next_key_tries 4;")
        .start();
    gateway.chat().send().expect_status(200);
    let reported =
        |name, key: &str, more: &str| value(&gateway, name, &[&format!("key=\"{key}\""), more]);
    let attempts = |key, verdict| reported("openai_key_attempts_total", key, verdict);
    for (key, verdict, ok) in [
        ("k1", "verdict=\"invalid_key\"", 0.0),
        ("k2", "verdict=\"rate_limited\"", 0.0),
        ("k3", "verdict=\"upstream_error\"", 0.0),
        ("k4", "verdict=\"ok\"", 1.0),
    ] {
        assert_eq!(attempts(key, verdict), Some(1.0), "{key}");
        assert_eq!(attempts(key, "verdict=\"ok\""), Some(ok), "{key}");
    }
    for (key, state) in [
        ("k1", "state=\"cooling_down\",cause=\"invalid_key\""),
        ("k2", "state=\"cooling_down\",cause=\"rate_limited\""),
        ("k3", "state=\"active\""),
        ("k4", "state=\"active\""),
    ] {
        assert_eq!(reported("openai_key_state", key, state), Some(1.0), "{key}");
    }
    let left = reported("openai_key_cooldown_seconds", "k2", "").expect("it is cooling down");
    assert!((500.0..=600.0).contains(&left), "{left}");
    assert_eq!(reported("openai_key_cooldown_seconds", "k4", ""), None);
    e2e::wait_until("the request is counted", || {
        value(&gateway, "openai_upstream_attempts_total", &[]) == Some(4.0)
    });
    assert_eq!(value(&gateway, "openai_retries_total", &[]), Some(3.0));
}

#[test]
fn what_is_left_of_a_key_and_what_it_does() {
    // What is left is known until it is whole again: for half a minute.
    let scenario = "delay = \"50ms\"\nwords = 2000\nrpm = 2\ntpm = 4000";
    let scenario = mock_upstream::Scenario::from_toml(scenario);
    let gateway = plan(1, "").scenario(scenario.expect("a scenario")).start();
    let reported = |name| value(&gateway, name, &["pool=\"main\"", "key=\"k1\""]);
    assert_eq!(reported("openai_key_in_flight"), Some(0.0));
    assert_eq!(reported("openai_key_remaining_tokens"), None);
    let mut stream = gateway.chat().events();
    stream.next().expect("a first event");
    assert_eq!(reported("openai_key_in_flight"), Some(1.0));
    for left in [
        "openai_key_remaining_requests",
        "openai_key_remaining_tokens",
    ] {
        assert!(reported(left).is_some_and(|left| left > 0.0), "{left}");
    }
    drop(stream);
    e2e::wait_until("the key is free", || {
        reported("openai_key_in_flight") == Some(0.0)
    });
}

#[test]
fn circuits_are_listed_by_state() {
    let gateway = plan(1, "")
        .http("upstream one { server {upstream} max_fails=0; }")
        .http("openai_upstream one { requests 4; open 1h max=1h; }")
        .serves("openai main@one; openai_next_key off;")
        .proxied("proxy_pass http://$openai_upstream;")
        .start();
    let of = |name, more| value(&gateway, name, &["upstream=\"one\"", more]);
    assert_eq!(of("openai_circuit_state", "state=\"closed\""), Some(1.0));
    for failures in 1..4 {
        gateway.chat().header("x-mock-status", "500").send();
        assert_eq!(of("openai_circuit_failures", ""), Some(failures.into()));
        assert_eq!(of("openai_circuit_attempts", ""), Some(failures.into()));
    }
    gateway.chat().header("x-mock-status", "500").send();
    assert_eq!(of("openai_circuit_state", "state=\"open\""), Some(1.0));
    assert_eq!(of("openai_circuit_state", "state=\"closed\""), None);
    assert_eq!(of("openai_circuit_trips", ""), Some(1.0));
}

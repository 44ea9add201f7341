//! Keys that go out and come back: for all workers, over reloads, and for those who wait.

use std::collections::BTreeMap;

use e2e::{Gateway, Load, LoadOutcome, Refusal, post, stream_once};

use crate::failover::{key, key_gets, key_is, keys, plan, uses};

/// So many streams, from a few clients at once, each complete.
#[track_caller]
fn assert_served(gateway: &Gateway, clients: usize, requests: usize) {
    let (port, request) = (gateway.port(), post("", r#"{"stream":true}"#));
    let load = Load::start(clients, requests, move || {
        let request = request.clone();
        move |_| stream_once(port, &request)
    });
    let expected = BTreeMap::from([(LoadOutcome::Complete, requests)]);
    assert_eq!(load.finish(), expected);
}

#[test]
fn a_revoked_key_is_out_for_all_workers_whatever_becomes_of_them() {
    let mut gateway = plan(2, &key_is(1, "revoked"))
        .workers(4)
        .loses_workers()
        .start();
    // One request alone: several at once might all find out.
    gateway.chat().send().expect_status(200);
    assert_served(&gateway, 8, 40);
    for worker in gateway.nginx().worker_pids() {
        gateway.nginx().kill_worker(worker);
    }
    assert_served(&gateway, 8, 40);
    gateway.reload(|plan| plan.workers(2));
    assert_served(&gateway, 8, 40);
    assert_eq!(uses(&gateway, 2), [1, 121]);
}

/// Nothing but the key's return can wake them: leases last for an hour.
#[test]
fn those_who_wait_in_any_worker_are_served_when_the_key_returns() {
    let limited = "error = \"rate_limit_exceeded\"\nretry-after = \"500ms\"\ntimes = 3";
    let gateway = plan(1, &key_gets(1, limited))
        .pool("main", &format!("key {} slots=3; lease_ttl 1h;", key(1)))
        .location("openai_next_key_tries 0;")
        .workers(4)
        .start();
    assert_served(&gateway, 12, 12);
    gateway.wait_held(0, 0);
}

#[test]
fn no_key_is_given_more_than_the_configuration_states() {
    let gateway = plan(2, "")
        .pool("main", &(keys(2) + "limit rpm=3 tpm=1000000; wait 0;"))
        .server("location = /keys { openai main; return 200 $openai_pool_keys; }")
        .start();
    for _ in 0..6 {
        gateway.chat().send().expect_status(200);
    }
    let answer = gateway.chat().send();
    let limited = Refusal::new(429, "rate_limit_exceeded", Some("keys_rate_limited"));
    assert_eq!(answer.refusal(), limited);
    let seconds = answer.header("retry-after").map(str::parse::<u64>);
    assert!(matches!(seconds, Some(Ok(1..=20))), "{seconds:?}");
    assert_eq!(uses(&gateway, 2), [3, 3]);
    let listing = gateway.get("/keys").send().expect_status(200).json();
    for (key, id) in listing.as_array().expect("a list").iter().zip(["k1", "k2"]) {
        assert_eq!(
            (&key["id"], &key["state"], &key["cause"], &key["failures"]),
            (
                &id.into(),
                &"cooling_down".into(),
                &"configured_limit".into(),
                &0.into()
            )
        );
        assert!(matches!(key["left_ms"].as_u64(), Some(1..=20_000)), "{key}");
    }
}

#[test]
fn a_reload_that_changes_a_keys_line_ends_its_cool_down() {
    let scenario = key_is(1, "out_of_quota") + &key_is(2, "out_of_quota");
    let mut gateway = plan(2, &scenario).workers(2).start();
    let refused = Refusal::new(503, "server_error", Some("no_healthy_key"));
    assert_eq!(gateway.chat().send().refusal(), refused);
    assert_eq!(uses(&gateway, 2), [1, 1]);
    // Both accounts are topped up.
    let sound = mock_upstream::Scenario::from_toml("delay = 0").expect("a scenario");
    gateway.mock().set_scenario(sound);
    gateway.reload(|plan| plan);
    assert_eq!(
        gateway.chat().send().refusal(),
        refused,
        "no line has changed"
    );
    let lines = format!("key {} id=k1;\nkey {} id=k2 weight=1;\n", key(1), key(2));
    gateway.reload(|plan| plan.pool("main", &lines));
    for _ in 0..3 {
        gateway.chat().send().expect_status(200);
    }
    gateway.wait_held(0, 0);
    assert_eq!(uses(&gateway, 2), [1, 4]);
}

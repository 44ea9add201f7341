//! What an answer says of the key it was asked with: whether and for how long the key is out.

use e2e::{Gateway, RawUpstream, Refusal};
use serde_json::Value;

use super::{key, key_gets, key_is, keys, plan, uses};

/// A location that reports how the keys of the pool do.
const LISTING: &str = "location = /keys { openai main; return 200 $openai_pool_keys; }";

fn no_healthy_key() -> Refusal {
    Refusal::new(503, "server_error", Some("no_healthy_key"))
}

/// How the n-th key does.
#[track_caller]
fn listed(gateway: &Gateway, n: usize) -> Value {
    let listing = gateway.get("/keys").send().expect_status(200).json();
    let found = listing.as_array().expect("a list").iter();
    let id = format!("k{n}");
    found
        .into_iter()
        .find(|key| key["id"] == id)
        .expect("the key")
        .clone()
}

#[test]
fn a_revoked_key_is_used_once() {
    for state in ["revoked", "out_of_quota"] {
        let gateway = plan(2, &key_is(1, state)).start();
        for _ in 0..4 {
            let answer = gateway.chat().send().expect_status(200);
            assert_eq!(answer.said(), "powered by openai");
        }
        gateway.wait_held(0, 0);
        assert_eq!(uses(&gateway, 2), [1, 4], "{state}");
    }
}

#[test]
fn without_an_active_key_the_client_gets_an_error() {
    for state in ["revoked", "out_of_quota"] {
        let scenario: String = (1..=3).map(|n| key_is(n, state)).collect();
        let gateway = plan(3, &scenario)
            .location("openai_next_key_tries 5;")
            .start();
        for _ in 0..3 {
            assert_eq!(gateway.chat().send().refusal(), no_healthy_key(), "{state}");
        }
        gateway.wait_held(0, 0);
        assert_eq!(uses(&gateway, 3), [1, 1, 1], "{state}");
        assert_eq!(gateway.logged(3)[2].lease_status, "unhealthy");
    }
}

#[test]
fn a_client_never_gets_the_error_that_its_own_token_is_wrong() {
    let scenario: String = (1..=5).map(|n| key_is(n, "revoked")).collect();
    let gateway = plan(5, &scenario)
        .location("openai_next_key_tries 2;")
        .start();
    assert_eq!(gateway.chat().send().refusal(), no_healthy_key());
    assert_eq!(uses(&gateway, 5), [1; 5]);
}

#[test]
fn keys_that_are_of_no_use_do_not_count_as_tries() {
    let scenario: String = (1..=9)
        .map(|n| key_is(n, ["revoked", "out_of_quota"][n % 2]))
        .collect();
    for directive in ["", "openai_next_key_tries 1;"] {
        let gateway = plan(10, &scenario).location(directive).start();
        let answer = gateway.chat().send().expect_status(200);
        assert_eq!(answer.said(), "powered by openai");
        gateway.wait_held(0, 0);
        assert_eq!(uses(&gateway, 10), [1; 10], "{directive}");
    }
    // Other faults do.
    let scenario: String = (1..=4)
        .map(|n| key_gets(n, ["error = \"invalid_api_key\"", "status = 418"][n % 2]))
        .collect();
    let gateway = plan(6, &scenario)
        .location("openai_next_key http_401 http_418; openai_next_key_tries 2;")
        .start();
    assert_eq!(gateway.chat().send().status, 418);
    assert_eq!(uses(&gateway, 6), [1, 1, 1, 0, 0, 0]);
}

#[test]
fn keys_of_no_use_are_passed_over_within_the_time_limit() {
    let scenario: String = (1..=5)
        .map(|n| key_gets(n, "error = \"invalid_api_key\"\nheader-delay = \"120ms\""))
        .collect();
    let gateway = plan(6, &scenario)
        .location("openai_next_key_timeout 100ms;")
        .start();
    let answer = gateway.chat().send();
    assert_eq!(answer.refusal(), no_healthy_key());
    assert_eq!(answer.header("retry-after"), Some("1"), "others are left");
    assert_eq!(uses(&gateway, 6), [1, 0, 0, 0, 0, 0]);
}

#[test]
fn it_is_reported_when_the_first_key_is_tried_again() {
    for (state, seconds) in [("revoked", 50..=60), ("out_of_quota", 3_500..=3_600)] {
        let scenario = key_is(1, state) + &key_is(2, state);
        let gateway = plan(2, &scenario).start();
        for _ in 0..2 {
            let answer = gateway.chat().send();
            assert_eq!(answer.refusal(), no_healthy_key());
            let reported = answer.header("retry-after").and_then(|s| s.parse().ok());
            assert!(
                reported.is_some_and(|s: u32| seconds.contains(&s)),
                "{reported:?}"
            );
        }
    }
}

#[test]
fn what_a_client_can_bring_about_costs_no_key() {
    let gateway = plan(2, "").start();
    let call = gateway
        .chat()
        .header("x-mock-error", "unsupported_country_region_territory");
    assert_eq!(call.send().status, 403);
    assert_eq!(gateway.mock().stats().totals.requests, 1);
    gateway.chat().send().expect_status(200);
    gateway.chat().send().expect_status(200);
    assert_eq!(uses(&gateway, 2), [2, 1]);
}

/// What a key's cool-down is after such an answer.
#[track_caller]
fn cool_down(answer: &str) -> (String, u64) {
    let upstream = RawUpstream::bind();
    let gateway = plan(1, "")
        .pool("main", &(keys(1) + "wait 0;"))
        .upstream(upstream.address())
        .server(LISTING)
        .start();
    let client = gateway.chat().spawn();
    upstream.accept().send(answer);
    client.join().expect("an answer");
    gateway.wait_held(0, 0);
    let key = listed(&gateway, 1);
    let cause = key["cause"].as_str().unwrap_or_default().to_owned();
    (cause, key["left_ms"].as_u64().unwrap_or_default())
}

fn limited(headers: &str) -> String {
    let body =
        r#"{"error":{"message":"","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
    format!(
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

#[test]
fn the_latest_reset_of_what_is_used_up_ends_a_cool_down() {
    let reset = |name: &str, left: &str, reset: &str| {
        format!("x-ratelimit-remaining-{name}: {left}\r\nx-ratelimit-reset-{name}: {reset}\r\n")
    };
    let date = |seconds: u64| {
        let at = std::time::SystemTime::now() + std::time::Duration::from_secs(seconds);
        format!("retry-after: {}\r\n", httpdate::fmt_http_date(at))
    };
    for (headers, least, most) in [
        ("retry-after-ms: 90000\r\n".to_owned(), 80_000, 90_000),
        ("retry-after: 90\r\n".to_owned(), 80_000, 90_000),
        (date(100), 80_000, 100_000),
        (reset("requests", "0", "6m0s"), 350_000, 360_000),
        (reset("tokens", "0", "1m30.5s"), 80_000, 90_500),
        (
            reset("requests", "0", "100s") + &reset("tokens", "0", "3m"),
            170_000,
            180_000,
        ),
        (
            reset("requests", "0", "100s") + &reset("tokens", "7", "3m"),
            90_000,
            100_000,
        ),
        (
            reset("requests", "0", "100s") + "retry-after: 1\r\n",
            90_000,
            100_000,
        ),
        (
            reset("requests", "0", "100s") + "retry-after: 200\r\n",
            190_000,
            200_000,
        ),
        (String::new(), 0, 1_000),
        (
            "retry-after: soon\r\nx-ratelimit-reset-requests: -5\r\n".to_owned(),
            0,
            1_000,
        ),
    ] {
        let (cause, left) = cool_down(&limited(&headers));
        if least > 0 {
            assert_eq!(cause, "rate_limited", "{headers:?}");
        }
        assert!((least..=most).contains(&left), "{headers:?}: {left}");
    }
}

#[test]
fn the_error_decides_what_a_429_is() {
    let body = r#"{"error":{"message":"","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    let head = |framing: &str| {
        format!("HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n{framing}\r\n")
    };
    let whole = head(&format!(
        "Connection: close\r\nContent-Length: {}\r\n",
        body.len()
    )) + body;
    let chunked = head("Connection: close\r\nTransfer-Encoding: chunked\r\n")
        + &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let closed = head("Connection: close\r\n") + body;
    for answer in [whole, chunked, closed] {
        let (cause, left) = cool_down(&answer);
        assert_eq!(cause, "quota_exceeded", "{answer}");
        assert!(left > 3_500_000, "{left}");
    }
}

#[test]
fn an_error_that_comes_in_pieces_is_waited_for() {
    let upstream = RawUpstream::bind();
    let gateway = plan(1, "")
        .upstream(upstream.address())
        .server(LISTING)
        .start();
    let client = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    let body = r#"{"error":{"message":"","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    let head = format!(
        "HTTP/1.1 429 Too Many Requests\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    exchange.send(head);
    for byte in body.as_bytes() {
        // The last ones decide nothing, and may find the connection closed.
        exchange.try_send([*byte]);
    }
    assert_eq!(
        client.join().expect("an answer").refusal(),
        no_healthy_key()
    );
    assert_eq!(listed(&gateway, 1)["cause"], "quota_exceeded");
}

#[test]
fn where_all_keys_are_limited_the_soonest_is_returned() {
    let scenario = key_gets(1, "error = \"rate_limit_exceeded\"\nretry-after = \"90s\"")
        + &key_gets(2, "error = \"rate_limit_exceeded\"\nretry-after = \"50s\"");
    let gateway = plan(2, &scenario).start();
    for _ in 0..3 {
        let answer = gateway.chat().send();
        let limited = Refusal::new(429, "rate_limit_exceeded", Some("keys_rate_limited"));
        assert_eq!(answer.refusal(), limited);
        let seconds: u64 = answer
            .header("retry-after")
            .expect("Retry-After")
            .parse()
            .expect("seconds");
        assert!((40..=50).contains(&seconds), "{seconds}");
    }
    assert_eq!(
        uses(&gateway, 2),
        [1, 1],
        "no key was used in its cool-down"
    );
    assert_eq!(gateway.logged(3)[2].lease_status, "cooling_down");
}

#[test]
fn a_cool_down_within_the_wait_is_waited_for() {
    let scenario = key_gets(
        1,
        "error = \"rate_limit_exceeded\"\nretry-after = \"1s\"\ntimes = 1",
    );
    let gateway = plan(1, &scenario).start();
    let answer = gateway.chat().send().expect_status(200);
    assert_eq!(answer.said(), "powered by openai");
    assert_eq!(uses(&gateway, 1), [2]);
    gateway.wait_held(0, 0);
}

#[test]
fn the_only_keys_own_answer_is_passed_on() {
    let scenario = key_gets(1, "error = \"rate_limit_exceeded\"\nretry-after = \"90s\"");
    let gateway = plan(1, &scenario).start();
    let answer = gateway.chat().send();
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (429, Some("rate_limit_exceeded"))
    );
    assert_eq!(answer.header("retry-after"), Some("90"));
}

#[test]
fn faults_of_the_upstream_are_not_the_keys() {
    let gateway = plan(1, "[[fault]]\nstatus = 500\ntimes = 4")
        .server(LISTING)
        .start();
    for _ in 0..2 {
        assert_eq!(gateway.chat().send().status, 500);
    }
    let key = listed(&gateway, 1);
    assert_eq!(
        (key["state"].as_str(), key["failures"].as_u64()),
        (Some("active"), Some(0)),
        "{key}"
    );
    gateway.chat().send().expect_status(200);
}

#[test]
fn what_is_left_of_a_limit_is_kept_to() {
    let scenario = format!("[[key]]\ntoken = \"{}\"\nrpm = 3\n", key(1));
    let gateway = plan(2, &scenario).start();
    for _ in 0..12 {
        gateway.chat().send().expect_status(200);
    }
    let stats = gateway.mock().ledger();
    let refused: u64 = stats.values().map(|spent| spent.refused).sum();
    assert_eq!(refused, 0, "no key was asked for more than it had");
}

//! How often a request is sent, with which key, and what of it the client sees.

use e2e::{Plan, RawUpstream, Refusal, closed_port};

use super::{key_gets, plan, uses};

/// An upstream that fails on purpose is asked all the same.
const NO_CIRCUIT: &str = "openai_upstream upstream { errors off; }";

#[test]
fn one_to_four_bad_keys_are_passed_over() {
    for bad in 1..=4 {
        // Each fails in another way.
        let fault = |n| key_gets(n, &format!("status = {}", [500, 502, 503, 504][n - 1]));
        let scenario: String = (1..=bad).map(fault).collect();
        let gateway = plan(5, &scenario)
            .location("openai_next_key_tries 5; openai_attempts_header on;")
            .start();
        let answer = gateway.chat().send().expect_status(200);
        assert_eq!(
            answer.header("x-openai-attempts"),
            Some(&*(bad + 1).to_string())
        );
        gateway.wait_held(0, 0);
    }
}

#[test]
fn a_stream_is_tried_again_like_any_answer() {
    let gateway = plan(2, &key_gets(1, "status = 503")).start();
    let events: Vec<_> = gateway.chat().events().collect();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    assert!(
        !events.iter().any(|event| event.contains("error")),
        "{events:?}"
    );
    gateway.wait_held(0, 0);
}

#[test]
fn a_connection_closed_or_reset_before_the_answer_is_tried_again() {
    for fault in ["close-after = 0", "reset-after = 0"] {
        let gateway = plan(2, &key_gets(1, fault)).start();
        let answer = gateway.chat().send().expect_status(200);
        assert_eq!(answer.said(), "powered by openai");
        gateway.wait_held(0, 0);
        assert_eq!(uses(&gateway, 2), [1, 1]);
    }
}

#[test]
fn an_answer_that_does_not_come_in_time_is_tried_again() {
    let gateway = plan(2, &key_gets(1, "header-delay = \"60s\""))
        .location("proxy_read_timeout 300ms;")
        .start();
    gateway.chat().send().expect_status(200);
    gateway.wait_held(0, 0);
    assert_eq!(uses(&gateway, 2), [1, 1]);
}

#[test]
fn a_slow_first_token_is_no_fault() {
    let gateway = plan(2, &key_gets(1, "first-token = \"500ms\"")).start();
    gateway.chat().send().expect_status(200);
    assert_eq!(uses(&gateway, 2), [1, 0]);
}

#[test]
fn a_stream_that_breaks_is_not_tried_again() {
    let gateway = plan(2, &key_gets(1, "reset-after = 2")).start();
    let events: Vec<_> = gateway.chat().events().collect();
    assert!(events.len() <= 3, "{events:?}");
    gateway.wait_held(0, 0);
    assert_eq!(uses(&gateway, 2), [1, 0]);
    // The key is not to blame: its turn comes as before.
    gateway.chat().send().expect_status(200);
    gateway.chat().header("x-mock-status", "400").send();
    assert_eq!(uses(&gateway, 2), [2, 1]);
}

#[test]
fn the_fault_of_a_request_is_not_tried_again() {
    let gateway = plan(2, "").start();
    for status in ["400", "404", "422"] {
        let call = gateway.chat().header("x-mock-status", status);
        assert_eq!(call.send().status.to_string(), status);
    }
    assert_eq!(gateway.mock().stats().totals.requests, 3);
}

#[test]
fn the_client_sees_the_last_answer() {
    let scenario = key_gets(1, "status = 500") + &key_gets(2, "status = 503");
    let gateway = plan(3, &(scenario + &key_gets(3, "status = 502"))).start();
    let answer = gateway.chat().send();
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("x-openai-attempts"), None, "nobody has asked");
    assert_eq!(answer.json()["error"]["type"], "server_error");
    gateway.wait_held(0, 0);
    assert_eq!(uses(&gateway, 3), [1, 1, 1]);
}

#[test]
fn the_number_of_tries_is_bounded() {
    for (directive, tries) in [
        ("", 3),
        ("openai_next_key_tries 1;", 1),
        ("openai_next_key_tries 2;", 2),
    ] {
        let gateway = plan(5, "[[fault]]\nstatus = 418")
            .location("openai_next_key http_418;")
            .location(directive)
            .start();
        assert_eq!(gateway.chat().send().status, 418);
        gateway.wait_held(0, 0);
        assert_eq!(gateway.mock().stats().totals.requests, tries, "{directive}");
    }
}

#[test]
fn an_upstream_that_fails_in_the_same_way_is_asked_twice() {
    for (fault, status) in [
        ("status = 500", 500),
        ("status = 503", 503),
        ("reset-after = 0", 502),
        ("header-delay = \"60s\"", 504),
    ] {
        let gateway = plan(5, &format!("[[fault]]\n{fault}"))
            .location("openai_next_key_tries 5; proxy_read_timeout 300ms;")
            .start();
        assert_eq!(gateway.chat().send().status, status);
        gateway.wait_held(0, 0);
        assert_eq!(gateway.mock().stats().totals.requests, 2, "{fault}");
    }
}

#[test]
fn another_upstream_is_asked_after_one_that_has_failed_twice() {
    let spare = mock_upstream::MockServer::start(
        mock_upstream::Scenario::from_toml("delay = 0\n[[fault]]\nstatus = 500\ntimes = 1")
            .expect("a scenario"),
    );
    let spare = spare.expect("the mock starts");
    let gateway = plan(5, "[[fault]]\nstatus = 500")
        .http("upstream one { server {upstream}; }")
        .http(&format!("upstream two {{ server {}; }}", spare.addr()))
        .serves("openai main@one main@two; openai_next_key_tries 10;")
        .proxied("proxy_pass http://$openai_upstream;")
        .start();
    gateway.chat().send().expect_status(200);
    gateway.wait_held(0, 0);
    assert_eq!(spare.stats().totals.requests, 2);
    let failed = gateway.mock().stats().totals.requests;
    assert!((1..=2).contains(&failed), "{failed}");
}

#[test]
fn attempts_at_an_upstream_that_has_failed_pause_before() {
    let plan = plan(2, &key_gets(1, "status = 503"));
    let gateway = plan.http(NO_CIRCUIT).start();
    for _ in 0..24 {
        gateway.chat().send().expect_status(200);
    }
    gateway.wait_held(0, 0);
    let requests = gateway.mock().requests();
    let at = |request: &serde_json::Value| request["at_ms"].as_u64().expect("a time");
    let failed = |pair: &&[serde_json::Value]| pair[0]["status"] == 503;
    let pauses = requests.windows(2).filter(failed);
    let pauses: Vec<_> = pauses.map(|pair| at(&pair[1]) - at(&pair[0])).collect();
    // Each is a random time of up to 100 ms.
    let sum: u64 = pauses.iter().sum();
    assert!(pauses.len() >= 6 && sum >= 100, "{pauses:?}");
}

#[test]
fn a_client_that_leaves_in_a_pause_leaves_nothing() {
    let plan = plan(2, "[[fault]]\nstatus = 500");
    let gateway = plan.http(NO_CIRCUIT).start();
    for _ in 0..8 {
        let mut client = gateway.connect();
        let seen = gateway.mock().stats().totals.requests;
        client.send(e2e::post("", "{}"));
        e2e::wait_until("the first attempt has been made", || {
            gateway.mock().stats().totals.requests > seen
        });
        drop(client);
    }
    gateway.wait_held(0, 0);
    gateway.logged(8);
}

#[test]
fn the_upstreams_word_that_a_retry_is_of_no_use_is_kept_to() {
    for fault in [
        "status = 500",
        "status = 503",
        "error = \"rate_limit_exceeded\"",
    ] {
        let gateway = plan(3, &format!("[[fault]]\n{fault}\nshould-retry = false")).start();
        let answer = gateway.chat().send();
        assert!([429, 500, 503].contains(&answer.status), "{fault}");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        gateway.wait_held(0, 0);
        assert_eq!(gateway.mock().stats().totals.requests, 1, "{fault}");
    }
    let forced = plan(3, "[[fault]]\nstatus = 400\nshould-retry = true").start();
    assert_eq!(forced.chat().send().status, 400);
    assert_eq!(forced.mock().stats().totals.requests, 1);
    // What is said of a key that is not taken is not about another key.
    let scenario = key_gets(1, "error = \"invalid_api_key\"\nshould-retry = false");
    let gateway = plan(2, &scenario).start();
    gateway.chat().send().expect_status(200);
    assert_eq!(uses(&gateway, 2), [1, 1]);
}

#[test]
fn no_attempt_begins_after_the_time_is_up() {
    let gateway = plan(5, "[[fault]]\nstatus = 500\nheader-delay = \"120ms\"")
        .location("openai_next_key_tries 0; openai_next_key_timeout 100ms;")
        .start();
    assert_eq!(gateway.chat().send().status, 500);
    assert_eq!(gateway.mock().stats().totals.requests, 1);
}

#[test]
fn conditions_can_be_chosen() {
    for (conditions, status, tries) in [
        ("off", "500", 1),
        ("off", "429", 1),
        ("http_429", "500", 1),
        ("error timeout", "503", 1),
        ("http_418", "418", 3),
        ("http_500", "500", 2),
    ] {
        let gateway = plan(5, &format!("[[fault]]\nstatus = {status}"))
            .location(&format!("openai_next_key {conditions};"))
            .start();
        assert_eq!(gateway.chat().send().status.to_string(), status);
        let requests = gateway.mock().stats().totals.requests;
        assert_eq!(requests, tries, "{conditions}: {status}");
    }
}

#[test]
fn a_location_inherits_and_overrides() {
    let gateway = plan(5, "[[fault]]\nstatus = 500")
        .http("openai_next_key_tries 2;")
        .server("openai_next_key http_500;")
        .start();
    assert_eq!(gateway.chat().send().status, 500);
    assert_eq!(gateway.mock().stats().totals.requests, 2);
}

#[test]
fn error_page_comes_after_the_last_attempt() {
    let gateway = Plan::new()
        .upstream(format!("127.0.0.1:{}", closed_port()))
        .location("error_page 502 = @sorry;")
        .server("location @sorry { return 200 sorry; }")
        .start();
    assert_eq!(gateway.chat().send().expect_status(200).text(), "sorry");
    gateway.wait_held(0, 0);
    let log = gateway.error_log().text();
    assert_eq!(log.matches("connect() failed").count(), 2, "{log}");
}

#[test]
fn a_kept_connection_that_closes_as_it_is_used_is_no_fault() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .upstream(upstream.address())
        .location("openai_next_key_tries 1;")
        .start();
    let first = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    let kept = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}";
    exchange.send(kept);
    first.join().expect("an answer").expect_status(200);
    let second = gateway.chat().spawn();
    exchange.next_request();
    drop(exchange);
    upstream.accept().answer();
    second.join().expect("an answer").expect_status(200);
    gateway.wait_held(0, 0);
}

#[test]
fn a_client_that_leaves_between_attempts_leaves_nothing() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let mut client = gateway.connect();
    client.send(e2e::post("", "{}"));
    drop(upstream.accept());
    let mut second = upstream.accept();
    drop(client);
    second.wait_closed();
    gateway.wait_held(0, 0);
    assert_eq!(gateway.logged(1)[0].status, 499);
}

#[test]
fn nginx_tries_its_own_servers_first() {
    let dead = closed_port();
    let gateway = plan(2, "").proxied("proxy_http_version 1.1; proxy_pass http://pair;");
    let mock = mock_upstream::MockServer::start(mock_upstream::Scenario::new()).expect("the mock");
    let gateway = gateway
        .http(&format!(
            "upstream pair {{ server 127.0.0.1:{dead}; server {}; }}",
            mock.addr()
        ))
        .start();
    for _ in 0..4 {
        gateway.chat().send().expect_status(200);
    }
    assert_eq!(mock.stats().totals.requests, 4);
    gateway.wait_held(0, 0);
}

#[test]
fn when_nothing_answers_the_client_gets_an_error() {
    let gateway = plan(3, "")
        .upstream(format!("127.0.0.1:{}", closed_port()))
        .start();
    let refusal = Refusal::new(502, "server_error", Some("upstream_unavailable"));
    assert_eq!(gateway.chat().send().refusal(), refusal);
    gateway.wait_held(0, 0);
}

/// A gateway before a gateway: the client gets the number of the one that it asks.
#[test]
fn the_attempts_of_an_upstream_that_counts_its_own_are_not_reported() {
    let upstream = RawUpstream::bind();
    let gateway = plan(1, "")
        .upstream(upstream.address())
        .location("openai_attempts_header on;")
        .start();
    let client = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    exchange.send(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-OpenAI-Attempts: 7\r\nx-openai-attempts: 8\r\n\r\nok",
    );
    let answer = client.join().expect("an answer").expect_status(200);
    let reported = answer
        .headers
        .iter()
        .filter(|(name, _)| name == "x-openai-attempts");
    let reported: Vec<_> = reported.map(|(_, value)| value.as_str()).collect();
    assert_eq!(reported, ["1"]);
}

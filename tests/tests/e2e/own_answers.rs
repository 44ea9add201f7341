//! Locations that inherit a pool and answer without an upstream.

use std::time::{Duration, Instant};

use e2e::{Call, Gateway, Plan, RawUpstream};

/// Far below the default of `send_timeout`, at which an answer that is held back ends.
const PROMPTLY: Duration = Duration::from_secs(5);

fn start(location: &str) -> Gateway {
    Plan::new().server("openai main;").server(location).start()
}

/// Several requests, one after the other and on one connection: each is answered, and the pool's
/// only slot is free afterwards.
#[track_caller]
fn assert_prompt(gateway: &Gateway, path: &str, says: &str) {
    let kept = gateway.get(path).keep_alive();
    for call in [&gateway.get(path), &kept, &kept] {
        let since = Instant::now();
        let answer = call.send().expect_status(200);
        assert!(since.elapsed() < PROMPTLY * e2e::patience().as_secs() as u32 / 15);
        let body = String::from_utf8_lossy(&answer.body);
        assert!(body.starts_with(says), "{body}");
        gateway.wait_held(0, 0);
    }
    assert_eq!(
        gateway.chat().send().expect_status(200).said(),
        "powered by openai"
    );
}

#[test]
fn stub_status_below_a_pool_answers_promptly_and_holds_no_slot() {
    let gateway = start("location = /status { stub_status; }");
    assert_prompt(&gateway, "/status", "Active connections:");
}

#[test]
fn empty_gif_below_a_pool_answers_promptly_and_holds_no_slot() {
    let gateway = start("location = /pixel { empty_gif; }");
    assert_prompt(&gateway, "/pixel", "GIF89a");
}

#[test]
fn files_and_texts_below_a_pool_answer_promptly_and_hold_no_slot() {
    let gateway = Plan::new()
        .server("openai main;")
        .server("location = /text { return 200 text; } location /nginx.conf { root {dir}; }")
        .start();
    assert_prompt(&gateway, "/text", "text");
    assert_prompt(&gateway, "/nginx.conf", "user");
}

#[test]
fn an_answer_without_an_upstream_is_refused_to_those_who_post() {
    let gateway = start("location = /pixel { empty_gif; }");
    for _ in 0..2 {
        let answer = Call::json(gateway.url("/pixel"), "{}").send();
        assert_eq!(
            answer.expect_status(405).refusal().kind,
            "invalid_request_error"
        );
        gateway.wait_held(0, 0);
    }
}

#[test]
fn a_location_that_says_that_it_needs_no_key_answers_while_all_keys_are_busy() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .server("openai main; location = /status { openai off; stub_status; }")
        .upstream(upstream.address())
        .start();
    let holder = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    gateway.wait_held(1, 0);
    gateway.get("/status").send().expect_status(200);
    exchange.answer();
    holder.join().expect("an answer").expect_status(200);
}

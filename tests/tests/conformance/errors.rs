//! Errors of the gateway's own.

use std::thread::JoinHandle;

use e2e::{Answer, Call, Exchange, RawUpstream, wait_for, wait_until};
use serde_json::{Value, json};

use crate::bed::{Bed, CHAT, COMPLETIONS, Config, SERVICE, STREAM};
use crate::case::{As, Case, check};

on_each_configuration!(
    a_body_that_is_no_request_is_refused,
    no_key_is_free_within_the_wait,
    the_queue_is_full,
    all_keys_are_rate_limited,
    every_key_is_unusable,
    a_lease_is_lost_before_the_answer,
    a_lease_is_lost_in_a_stream,
    errors_of_nginx_have_the_form_of_openai,
);

fn chat() -> Case {
    Case::post(COMPLETIONS, STREAM).by(As::Service)
}

/// `make run` refuses them as it is; elsewhere it is a directive.
fn a_body_that_is_no_request_is_refused(config: Config) {
    let bed = Bed::with(config, |shipped| {
        if config == Config::MakeRun {
            return shipped;
        }
        shipped.set("location /v1/", "openai_inspect_invalid reject;")
    });
    let ask = |body: &str| Case::post(COMPLETIONS, body).by(As::Service);
    let refused = |body: &str| ask(body).error(400, "invalid_request_error", None);
    check(
        &bed,
        &[
            refused("no JSON"),
            refused("{\"model\":\"gpt-4o\""),
            refused("[]"),
            refused("17"),
            refused(r#"{"model":7}"#).about("model"),
            refused(r#"{"model":"gpt-4o","stream":"yes"}"#).about("stream"),
            refused(r#"{"model":"gpt-4o","user":[]}"#).about("user"),
            refused(r#"{"stream":true,"stream_options":{"include_usage":1}}"#)
                .about("stream_options.include_usage"),
        ],
    );
    assert_eq!(bed.mock.stats().totals.requests, 0, "none goes upstream");
    // What is no JSON by its type is nobody's business, and no body is none that is wrong.
    let form = Case::new("POST", COMPLETIONS)
        .by(As::Service)
        .with("content-type", "text/plain");
    let empty = |method: &'static str, path: &str| {
        Case::new(method, path)
            .by(As::Service)
            .with("content-type", "application/json")
    };
    check(
        &bed,
        &[
            form.body("no JSON"),
            ask(CHAT),
            empty("POST", "/v1/batches/batch_1/cancel"),
            empty("DELETE", "/v1/files/file-1"),
            empty("GET", "/v1/files"),
        ],
    );
    bed.end();
}

/// Requests that hold all three keys, and what the upstream has of them.
fn hold_all(bed: &Bed, upstream: &RawUpstream) -> Vec<(JoinHandle<Answer>, Exchange)> {
    let held = (0..3)
        .map(|_| (bed.chat(CHAT).spawn(), upstream.accept()))
        .collect();
    bed.wait_gauge("held", 3);
    held
}

fn let_go(held: Vec<(JoinHandle<Answer>, Exchange)>) {
    for (client, mut exchange) in held {
        exchange.answer();
        client.join().expect("an answer").expect_status(200);
    }
}

fn no_key_is_free_within_the_wait(config: Config) {
    let upstream = RawUpstream::bind();
    let bed = Bed::before_raw(config, &upstream, |shipped| {
        shipped.set("openai_pool main", "wait 2s;")
    });
    let held = hold_all(&bed, &upstream);
    let refused = chat().error(429, "rate_limit_exceeded", "no_key_available");
    check(&bed, &[refused.answers("retry-after", "<seconds>")]);
    let_go(held);
    bed.end();
}

fn the_queue_is_full(config: Config) {
    let upstream = RawUpstream::bind();
    let bed = Bed::before_raw(config, &upstream, |shipped| {
        shipped.set("openai_pool main", "queue 1;")
    });
    let held = hold_all(&bed, &upstream);
    let waiter = bed.chat(CHAT).spawn();
    bed.wait_gauge("waiting", 1);
    let refused = chat().error(429, "rate_limit_exceeded", "queue_full");
    check(&bed, &[refused.answers("retry-after", "<seconds>")]);
    let_go(held);
    upstream.accept().answer();
    waiter.join().expect("an answer").expect_status(200);
    bed.end();
}

/// Has each of the three keys answered so, once.
fn exhaust(bed: &Bed, with: &[(&str, &str)]) {
    let call = with.iter().fold(bed.chat(CHAT), |call, (name, value)| {
        call.header(name, value)
    });
    wait_until("every key is out", || {
        call.send();
        bed.gauge("keys_cooling_down") == Some(3)
    });
}

fn all_keys_are_rate_limited(config: Config) {
    let bed = Bed::start(config);
    exhaust(
        &bed,
        &[
            ("x-mock-error", "rate_limit_exceeded"),
            ("x-mock-retry-after", "300s"),
        ],
    );
    let before = bed.mock.stats().totals.requests;
    let refused = chat().error(429, "rate_limit_exceeded", "keys_rate_limited");
    let refused = refused.answers("retry-after", "<seconds>");
    check(&bed, std::slice::from_ref(&refused));
    // Until the first returns, not a guess.
    let answer = refused.call(&bed).send();
    let seconds = answer
        .header("retry-after")
        .and_then(|value| value.parse::<u64>().ok());
    assert!(
        seconds.is_some_and(|s| (30..=300).contains(&s)),
        "{seconds:?}"
    );
    assert_eq!(
        bed.mock.stats().totals.requests,
        before,
        "nothing goes upstream"
    );
    bed.end();
}

fn every_key_is_unusable(config: Config) {
    for error in ["invalid_api_key", "insufficient_quota"] {
        let bed = Bed::start(config);
        exhaust(&bed, &[("x-mock-error", error)]);
        let before = bed.mock.stats().totals.requests;
        check(&bed, &[chat().error(503, "server_error", "no_healthy_key")]);
        assert_eq!(
            bed.mock.stats().totals.requests,
            before,
            "nothing goes upstream"
        );
        bed.end();
    }
}

/// One key, two workers, and leases that do not outlive a worker that stands still for long.
fn with_one_key(config: Config, upstream: &RawUpstream) -> Bed {
    let workers = match config {
        Config::Container => "worker_processes 1;",
        Config::MakeRun | Config::Production => "worker_processes auto;",
    };
    Bed::before_raw(config, upstream, |shipped| {
        shipped
            .with("OPENAI_API_KEYS", "")
            .replace(workers, "worker_processes 2;")
            .set("openai_pool main", "lease_ttl 1s;")
            .set("location /v1/", "add_header X-Worker $pid;")
    })
}

fn worker_of(headers: &[(String, String)]) -> i32 {
    let field = headers.iter().find(|(name, _)| name == "x-worker");
    let (_, pid) = field.expect("the answer names its worker");
    pid.parse().expect("a process id")
}

/// A stream that has begun, and its worker.
#[track_caller]
fn stream(bed: &Bed, upstream: &RawUpstream) -> (e2e::Events, Exchange, i32) {
    let client = bed.chat(STREAM).spawn_events();
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("first");
    let mut events = client.join().expect("a head");
    assert_eq!(events.next().as_deref(), Some("first"));
    let worker = worker_of(&events.headers);
    (events, exchange, worker)
}

/// Stops a worker until its key is lent to somebody else.
#[track_caller]
fn lose(bed: &Bed, upstream: &RawUpstream, stale: i32) {
    bed.nginx().stop_worker(stale);
    let (mut events, mut exchange, heir) = stream(bed, upstream);
    assert_ne!(heir, stale);
    bed.nginx().resume_worker(stale);
    // The worker sees that its lease is another's while that one still has it.
    wait_until("the loss is reported", || {
        bed.read("error.log").contains("\"event\":\"lease_lost\"")
    });
    exchange.end_stream();
    assert_eq!(events.next().as_deref(), Some("[DONE]"));
}

fn a_lease_is_lost_before_the_answer(config: Config) {
    let upstream = RawUpstream::bind();
    let bed = with_one_key(config, &upstream);
    // On one connection, so that it is known which worker has it.
    let call = Call::json(bed.url(COMPLETIONS), CHAT)
        .token(SERVICE)
        .keep_alive();
    let first = call.spawn();
    upstream.accept().answer();
    let stale = worker_of(&first.join().expect("an answer").expect_status(200).headers);
    let waiting = call.spawn();
    let mut exchange = upstream.accept();
    lose(&bed, &upstream, stale);
    let answer = waiting.join().expect("an answer");
    let case = chat().error(503, "server_error", "lease_lost");
    assert_eq!(
        case.judge(&answer),
        Vec::<String>::new(),
        "{}",
        answer.text()
    );
    exchange.wait_closed();
    bed.end();
}

fn a_lease_is_lost_in_a_stream(config: Config) {
    let upstream = RawUpstream::bind();
    let bed = with_one_key(config, &upstream);
    let (mut events, mut exchange, stale) = stream(&bed, &upstream);
    lose(&bed, &upstream, stale);
    let reported: Value = serde_json::from_str(&events.next().expect("last words")).expect("JSON");
    let error = json!({"error": {"message": "<text>", "type": "server_error", "param": null, "code": "lease_lost"}});
    crate::shape::assert_shape("the last event", &error, &reported);
    assert_eq!(
        reported["error"].as_object().map(serde_json::Map::len),
        Some(4)
    );
    assert_eq!(events.next(), None, "the connection ends");
    exchange.wait_closed();
    bed.end();
}

/// Two of three servers are gone: no lock is to be had, neither by requests nor by services.
#[test]
fn the_container_has_no_quorum() {
    let mut bed = Bed::start(Config::Container);
    bed.nodes[0].kill();
    bed.nodes[1].kill();
    let acquire = json!({"service_name": "labeling", "resource_type": "openai_api"});
    for case in [
        chat(),
        Case::post("/v1/lock/acquire", acquire).by(As::Service),
    ] {
        let case = case.error(503, "server_error", "lock_unavailable");
        let case = case.answers("retry-after", "<seconds>");
        let wrong = wait_for("it is refused", || {
            let answer = case.call(&bed).send();
            (answer.status != 200).then(|| (case.judge(&answer), answer))
        });
        assert_eq!(wrong.0, Vec::<String>::new(), "{}", wrong.1.text());
    }
    let health = bed.call("GET", "/health").send().expect_status(503);
    assert_eq!(health.json()["status"], "unhealthy");
    bed.end();
}

fn errors_of_nginx_have_the_form_of_openai(config: Config) {
    let bed = Bed::with(config, |shipped| {
        shipped.set("server", "client_max_body_size 64k;")
    });
    let large = format!("{{\"model\":\"{}\"}}", "x".repeat(100_000));
    check(
        &bed,
        &[
            Case::post(COMPLETIONS, large).by(As::Service).error(
                413,
                "invalid_request_error",
                "request_too_large",
            ),
            Case::get("/v1/lock/nothing")
                .by(As::Service)
                .error(404, "invalid_request_error", None),
        ],
    );
    bed.end();

    // No upstream.
    let upstream = RawUpstream::bind();
    let bed = Bed::before_raw(config, &upstream, |shipped| shipped);
    drop(upstream);
    let answer = chat().call(&bed).send();
    assert!([502, 503].contains(&answer.status), "{}", answer.text());
    let error = json!({"error": {"message": "<text>", "type": "server_error", "param": null, "code": "upstream_unavailable"}});
    crate::shape::assert_shape("no upstream", &error, &answer.json());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    bed.end();
}

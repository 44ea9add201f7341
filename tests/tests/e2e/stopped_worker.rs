//! A worker that stands still for longer than its leases live: the keys are lent to others, and
//! when it goes on, it lets go of them.

use e2e::{Call, Events, Exchange, Gateway, Plan, RawUpstream, Refusal};

/// Two workers, one slot. What is streamed names its worker.
fn start() -> (Gateway, RawUpstream) {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .workers(2)
        .pool("main", "key sk-e2e-main-0001 id=main; lease_ttl 3s;")
        .location("add_header X-Worker $pid;")
        .upstream(upstream.address())
        .start();
    (gateway, upstream)
}

fn worker_of(headers: &[(String, String)]) -> i32 {
    let field = headers.iter().find(|(name, _)| name == "x-worker");
    let (_, pid) = field.expect("the answer names its worker");
    pid.parse().expect("a process id")
}

/// A stream that has begun with these lines of a head, and its worker.
#[track_caller]
fn stream(gateway: &Gateway, upstream: &RawUpstream, kind: &str) -> (Events, Exchange, i32) {
    let client = gateway.chat().spawn_events();
    let mut exchange = upstream.accept();
    exchange.send(format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    ));
    exchange.event("first");
    let mut events = client.join().expect("a head");
    assert_eq!(events.next().as_deref(), Some("first"));
    let worker = worker_of(&events.headers);
    (events, exchange, worker)
}

#[track_caller]
fn assert_one_loss(gateway: &Gateway) {
    gateway.error_log().wait_for("\"event\":\"lease_lost\"");
    let log = gateway.error_log().text();
    let lines: Vec<_> = log.lines().filter(|l| l.contains("lost")).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("[error]"), "{lines:?}");
}

/// Stops a worker until its slot is lent to somebody else; gives that one's stream.
#[track_caller]
fn take_over(gateway: &mut Gateway, upstream: &RawUpstream, stale: i32) -> (Events, Exchange) {
    gateway.nginx().stop_worker(stale);
    let (events, exchange, worker) = stream(gateway, upstream, "text/event-stream");
    assert_ne!(worker, stale);
    gateway.wait_held(1, 0);
    gateway.nginx().resume_worker(stale);
    (events, exchange)
}

/// The one who has the slot now is not disturbed.
#[track_caller]
fn assert_undisturbed(gateway: &Gateway, (mut events, mut exchange): (Events, Exchange)) {
    gateway.wait_held(1, 0);
    exchange.event("more");
    assert_eq!(events.next().as_deref(), Some("more"));
    exchange.end_stream();
    assert_eq!(events.next().as_deref(), Some("[DONE]"));
    gateway.wait_held(0, 0);
}

/// A stream of this media type gets the error.
#[track_caller]
fn gets_error(kind: &str) {
    let (mut gateway, upstream) = start();
    let (mut events, mut exchange, stale) = stream(&gateway, &upstream, kind);
    let heir = take_over(&mut gateway, &upstream, stale);
    let reported = events.next().expect("last words");
    let reported: serde_json::Value = serde_json::from_str(&reported).expect("JSON");
    assert_eq!(reported["error"]["code"], "lease_lost");
    assert_eq!(reported["error"]["type"], "server_error");
    assert!(reported["error"]["message"].is_string());
    assert_eq!(events.next(), None, "the stream ends");
    exchange.wait_closed();
    assert_undisturbed(&gateway, heir);
    assert_one_loss(&gateway);
    let lines = gateway.logged(2);
    let mut ways: Vec<_> = lines.iter().map(|l| l.lease_status.as_str()).collect();
    ways.sort_unstable(); // the stale client may be slower to close
    assert_eq!(ways, ["lost", "waited"]);
}

#[test]
fn a_stream_whose_key_went_to_another_ends_with_an_error() {
    gets_error("text/event-stream; charset=utf-8"); // as OpenAI sends it
    gets_error("text/event-stream");
}

/// Media types are the same in any case.
#[test]
fn a_stream_that_is_named_in_capitals_gets_the_error() {
    gets_error("Text/Event-Stream");
}

#[test]
fn an_answer_of_another_kind_breaks_off_when_its_key_went_to_another() {
    let (mut gateway, upstream) = start();
    let (mut events, mut exchange, stale) = stream(&gateway, &upstream, "application/json");
    let heir = take_over(&mut gateway, &upstream, stale);
    assert_eq!(events.next(), None, "no frame that is no JSON");
    exchange.wait_closed();
    assert_undisturbed(&gateway, heir);
    assert_one_loss(&gateway);
}

#[test]
fn a_request_whose_key_went_to_another_before_the_upstream_answered_is_refused() {
    let (mut gateway, upstream) = start();
    // On the same connection, so that it is known which worker has it.
    let call: Call = gateway.chat_with("{}").keep_alive();
    let first = call.spawn();
    upstream.accept().answer();
    let first = first.join().expect("an answer").expect_status(200);
    let stale = worker_of(&first.headers);
    let waiting = call.spawn();
    let mut exchange = upstream.accept();
    gateway.wait_held(1, 0);
    let heir = take_over(&mut gateway, &upstream, stale);
    let answer = waiting.join().expect("an answer");
    assert_eq!(
        answer.refusal(),
        Refusal::new(503, "server_error", Some("lease_lost"))
    );
    exchange.wait_closed();
    assert_undisturbed(&gateway, heir);
    assert_one_loss(&gateway);
}

#[test]
fn a_stream_that_ended_upstream_while_its_worker_stood_still_arrives_whole_or_with_an_error() {
    let (mut gateway, upstream) = start();
    let (mut events, mut exchange, stale) = stream(&gateway, &upstream, "text/event-stream");
    gateway.nginx().stop_worker(stale);
    exchange.end_stream();
    drop(exchange);
    let heir = stream(&gateway, &upstream, "text/event-stream");
    gateway.nginx().resume_worker(stale);
    let last = events.next().expect("an end");
    assert!(last == "[DONE]" || last.contains("lease_lost"), "{last}");
    assert_undisturbed(&gateway, (heir.0, heir.1));
}

/// One who was served by a worker that stands still before it could say so.
#[test]
fn a_waiter_in_a_stopped_worker_is_served_in_the_end() {
    let (mut gateway, upstream) = start();
    let call = gateway.chat_with("{}").keep_alive();
    let first = call.spawn();
    upstream.accept().answer();
    let first = first.join().expect("an answer").expect_status(200);
    let stale = worker_of(&first.headers);
    // Somebody else's worker holds the slot.
    let (events, exchange) = loop {
        let (mut events, mut exchange, worker) = stream(&gateway, &upstream, "text/event-stream");
        if worker != stale {
            break (events, exchange);
        }
        exchange.end_stream();
        assert_eq!(events.next().as_deref(), Some("[DONE]"));
        gateway.wait_held(0, 0);
    };
    let waiting = call.spawn();
    gateway.wait_held(1, 1);
    gateway.nginx().stop_worker(stale);
    let mut holder = (events, exchange);
    holder.1.end_stream();
    assert_eq!(holder.0.next().as_deref(), Some("[DONE]"));
    // The slot is kept for the waiter, lapses, and goes to another.
    let heir = stream(&gateway, &upstream, "text/event-stream");
    gateway.nginx().resume_worker(stale);
    gateway.wait_held(1, 1);
    assert!(!upstream.is_called(), "one slot, and it is held");
    let (mut events, mut exchange, _) = heir;
    exchange.end_stream();
    assert_eq!(events.next().as_deref(), Some("[DONE]"));
    upstream.accept().answer();
    waiting.join().expect("an answer").expect_status(200);
}

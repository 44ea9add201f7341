//! Whatever ends a request frees its slot.

use e2e::{Events, Gateway, Plan, RawUpstream, post};

fn start() -> (Gateway, RawUpstream) {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    (gateway, upstream)
}

/// The only slot is free: the next request gets it at once.
#[track_caller]
fn assert_free(gateway: &Gateway, upstream: &RawUpstream) {
    gateway.wait_held(0, 0);
    let client = gateway.chat().spawn();
    upstream.accept().answer();
    client.join().expect("an answer").expect_status(200);
    let line = gateway.logged(2).pop().expect("a line");
    assert_eq!(line.lease_status, "immediate");
}

#[test]
fn a_client_that_leaves_before_the_first_byte() {
    let (gateway, upstream) = start();
    let mut client = gateway.connect();
    client.send(post("", "{}"));
    let mut exchange = upstream.accept();
    gateway.wait_held(1, 0);
    drop(client);
    exchange.wait_closed();
    assert_free(&gateway, &upstream);
    assert_eq!(gateway.logged(1)[0].status, 499);
}

#[test]
fn a_client_that_leaves_in_mid_stream() {
    let (gateway, upstream) = start();
    let mut client = gateway.connect();
    client.send(post("", "{}"));
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("first");
    client.read_until("data: first");
    gateway.wait_held(1, 0);
    drop(client);
    exchange.wait_closed();
    assert_free(&gateway, &upstream);
}

#[test]
fn a_client_that_leaves_while_the_upstream_is_silent_frees_the_mock() {
    let gateway = Plan::new().start();
    let mut events = gateway.chat().header("x-mock-delay", "60s").events();
    assert!(events.next().is_some_and(|event| event.contains("role")));
    gateway.wait_in_flight(1);
    drop(events);
    gateway.wait_in_flight(0);
    assert_eq!(gateway.mock().stats().totals.aborted, 1);
    gateway.wait_held(0, 0);
    gateway.chat().send().expect_status(200);
}

#[test]
fn a_client_that_leaves_before_the_mock_has_answered_frees_the_mock() {
    let gateway = Plan::new().start();
    let mut client = gateway.connect();
    client.send(post("X-Mock-Header-Delay: 60s\r\n", "{}"));
    gateway.wait_in_flight(1);
    drop(client);
    gateway.wait_in_flight(0);
    gateway.wait_held(0, 0);
}

/// The last event is an error of the gateway's, and the stream ends.
#[track_caller]
fn assert_broken(mut events: Events, code: &str) {
    let last = events.next().expect("an error");
    let error: serde_json::Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(error["error"]["code"], code);
    assert_eq!(error["error"]["type"], "server_error");
    assert_eq!(events.next(), None, "the client's stream ends too");
}

#[test]
fn an_upstream_that_closes_in_mid_stream() {
    let (gateway, upstream) = start();
    let client = gateway.chat().spawn_events();
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("first");
    let mut events = client.join().expect("a head");
    assert_eq!(events.next().as_deref(), Some("first"));
    drop(exchange);
    assert_broken(events, "upstream_unavailable");
    assert_free(&gateway, &upstream);
}

#[test]
fn an_upstream_that_resets_in_mid_stream() {
    let (gateway, upstream) = start();
    let client = gateway.chat().spawn_events();
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("first");
    let mut events = client.join().expect("a head");
    assert_eq!(events.next().as_deref(), Some("first"));
    exchange.reset();
    assert_broken(events, "upstream_unavailable");
    assert_free(&gateway, &upstream);
}

#[test]
fn an_upstream_that_falls_silent_in_mid_stream() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .location("proxy_read_timeout 2s;")
        .upstream(upstream.address())
        .start();
    let client = gateway.chat().spawn_events();
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("first");
    let mut events = client.join().expect("a head");
    assert_eq!(events.next().as_deref(), Some("first"));
    assert_broken(events, "upstream_timeout");
    exchange.wait_closed();
    assert_free(&gateway, &upstream);
}

#[test]
fn a_client_that_stops_reading() {
    let (gateway, upstream) = {
        let upstream = RawUpstream::bind();
        let gateway = Plan::new()
            .location("send_timeout 300ms;")
            .upstream(upstream.address())
            .start();
        (gateway, upstream)
    };
    let mut client = gateway.connect();
    client.send(post("", "{}"));
    let mut exchange = upstream.accept();
    exchange.begin_stream();
    // More than the sockets' buffers hold: nginx can send no more, and gives up.
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(64 * 1024));
    let feeder = std::thread::spawn(move || while exchange.try_send(&chunk) {});
    gateway.wait_held(0, 0);
    feeder
        .join()
        .expect("the upstream's connection has been closed");
    drop(client);
    assert_free(&gateway, &upstream);
}

#[test]
fn an_answer_in_order() {
    let (gateway, upstream) = start();
    let client = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    gateway.wait_held(1, 0);
    exchange.begin_stream().event("first").end_stream();
    client.join().expect("an answer").expect_status(200);
    assert_free(&gateway, &upstream);
}

#[test]
fn an_answer_without_a_body() {
    let (gateway, upstream) = start();
    let client = gateway.chat().spawn();
    upstream
        .accept()
        .send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    client.join().expect("an answer").expect_status(204);
    assert_free(&gateway, &upstream);
}

/// nginx keeps a connection that it has said to close until the client has closed it as well. The
/// answer has ended long before.
#[test]
fn an_answer_whose_client_is_slow_to_close() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .server("lingering_close always; lingering_timeout 60s; lingering_time 120s;")
        .upstream(upstream.address())
        .start();
    let mut client = gateway.connect();
    client.send(post("", "{}"));
    upstream.accept().answer();
    assert!(client.read_to_end().ends_with("{}"));
    gateway.wait_held(0, 0);
    drop(client);
    assert_free(&gateway, &upstream);
}

//! Upstreams that cannot be reached, break or dawdle: the client hears it in OpenAI's form, and
//! the slot is free.

use std::fs;

use e2e::{Gateway, LogLine, Plan, RawUpstream, Refusal, closed_port, wait_for};

fn unavailable() -> Refusal {
    Refusal::new(502, "server_error", Some("upstream_unavailable"))
}

fn timed_out() -> Refusal {
    Refusal::new(504, "server_error", Some("upstream_timeout"))
}

fn refusing() -> Plan {
    once().upstream(format!("127.0.0.1:{}", closed_port()))
}

/// A request is sent once only.
fn once() -> Plan {
    Plan::new().location("openai_next_key off;")
}

#[track_caller]
fn assert_free(gateway: &Gateway) {
    gateway.wait_held(0, 0);
    let line = gateway.logged(1).remove(0);
    assert_eq!(
        (line.key_id.as_str(), line.lease_status.as_str()),
        ("main", "immediate")
    );
    assert!(!line.hold_ms.is_empty(), "the lease has ended: {line:?}");
}

#[test]
fn an_upstream_that_refuses_is_unavailable() {
    let gateway = refusing().start();
    assert_eq!(gateway.chat().send().refusal(), unavailable());
    assert_free(&gateway);
}

/// nginx writes the access log before it calls the module's LOG handler.
#[test]
fn the_slot_is_free_when_an_error_page_has_been_sent() {
    let gateway = refusing()
        .http("log_format held '$status $openai_pool_held';")
        .location("access_log {dir}/held.log held;")
        .start();
    assert_eq!(gateway.chat().send().refusal(), unavailable());
    let line = wait_for("the request is logged", || {
        let text = fs::read_to_string(gateway.dir().join("held.log")).unwrap_or_default();
        text.lines().next().map(str::to_owned)
    });
    assert_eq!(line, "502 0");
}

#[test]
fn every_request_to_an_upstream_that_refuses_gives_its_slot_back() {
    let gateway = refusing()
        .http("openai_upstream upstream { errors off; }")
        .workers(2)
        .start();
    let clients: Vec<_> = (0..50).map(|_| gateway.chat().spawn()).collect();
    for client in clients {
        assert_eq!(client.join().expect("an answer").refusal(), unavailable());
    }
    gateway.wait_held(0, 0);
    // Two workers log in any order.
    let lines = gateway.logged(50);
    let has_ended = |line: &LogLine| line.key_id == "main" && !line.hold_ms.is_empty();
    assert!(lines.iter().all(has_ended), "{lines:?}");
}

#[test]
fn an_upstream_that_resets_before_the_head_is_unavailable() {
    let gateway = Plan::new().start();
    let call = gateway.chat().header("x-mock-reset-after", "0");
    assert_eq!(call.send().refusal(), unavailable());
    assert_free(&gateway);
}

#[test]
fn an_upstream_that_closes_before_the_head_is_unavailable() {
    let upstream = RawUpstream::bind();
    let gateway = once().upstream(upstream.address()).start();
    let client = gateway.chat().spawn();
    drop(upstream.accept());
    assert_eq!(client.join().expect("an answer").refusal(), unavailable());
    assert_free(&gateway);
}

#[test]
fn an_upstream_that_closes_inside_the_head_is_unavailable() {
    let upstream = RawUpstream::bind();
    let gateway = once().upstream(upstream.address()).start();
    let client = gateway.chat().spawn();
    upstream.accept().send("HTTP/1.1 200 OK\r\nContent-Ty");
    assert_eq!(client.join().expect("an answer").refusal(), unavailable());
    assert_free(&gateway);
}

#[test]
fn an_upstream_that_resets_in_mid_stream_ends_the_stream() {
    let gateway = Plan::new().start();
    let events: Vec<_> = gateway
        .chat()
        .header("x-mock-reset-after", "2")
        .events()
        .collect();
    assert!(events.len() <= 3, "{events:?}");
    assert!(!events.iter().any(|event| event == "[DONE]"), "{events:?}");
    assert_free(&gateway);
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_a_timeout() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .location("proxy_read_timeout 200ms;")
        .upstream(upstream.address())
        .start();
    let client = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    exchange.wait_closed();
    assert_eq!(client.join().expect("an answer").refusal(), timed_out());
    assert_free(&gateway);
}

#[test]
fn an_upstream_with_a_broken_header_is_unavailable() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type\x01: text/plain\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\n: nameless\r\n\r\n".to_owned(),
        format!(
            "HTTP/1.1 200 OK\r\nX-Flood: {}\r\n\r\n",
            "x".repeat(64 * 1024)
        ),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Flood: x\r\n".repeat(10_000)),
    ] {
        let upstream = RawUpstream::bind();
        let gateway = once().upstream(upstream.address()).start();
        let client = gateway.chat().spawn();
        upstream.accept().try_send(&head);
        let start: String = head.chars().take(60).collect();
        assert_eq!(
            client.join().expect("an answer").refusal(),
            unavailable(),
            "{start}"
        );
        assert_free(&gateway);
    }
}

#[test]
fn an_upstream_that_speaks_no_http_is_unavailable() {
    for nonsense in [
        "\0\0\0\0",
        "garbage\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\x16\x03\x01\x02",
    ] {
        let upstream = RawUpstream::bind();
        let gateway = once().upstream(upstream.address()).start();
        let client = gateway.chat().spawn();
        upstream.accept().try_send(nonsense);
        assert_eq!(client.join().expect("an answer").refusal(), unavailable());
        assert_free(&gateway);
    }
}

#[test]
fn an_upstream_with_broken_chunks_ends_the_stream() {
    for chunk in ["zz\r\n", "-1\r\n", "ffffffffffffffffff\r\n", "5\r\nab"] {
        let upstream = RawUpstream::bind();
        let gateway = Plan::new().upstream(upstream.address()).start();
        let client = gateway.chat().spawn_events();
        let mut exchange = upstream.accept();
        exchange.begin_stream().event("first");
        let mut events = client.join().expect("a head");
        assert_eq!(events.next().as_deref(), Some("first"));
        exchange.send(chunk);
        drop(exchange);
        assert_eq!(events.next(), None, "{chunk:?}");
        assert_free(&gateway);
    }
}

#[test]
fn an_upstream_that_answers_before_it_has_read_the_request() {
    let upstream = RawUpstream::bind();
    let gateway = once()
        .location("client_max_body_size 64m;")
        .upstream(upstream.address())
        .start();
    let client = gateway.chat_with(vec![b' '; 8 << 20]).spawn();
    let mut exchange = upstream.accept_unread();
    exchange.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    // What is unread makes this a reset.
    drop(exchange);
    let status = client.join().expect("an answer").status;
    assert!([413, 502].contains(&status), "{status}");
    assert_free(&gateway);
}

#[test]
fn a_name_that_cannot_be_resolved_is_unavailable() {
    let gateway = Plan::new()
        .proxied("set $upstream_name nowhere.invalid; proxy_pass http://$upstream_name;")
        .start();
    assert_eq!(gateway.chat().send().refusal(), unavailable());
    assert_free(&gateway);
}

#[test]
fn the_next_upstream_gets_the_same_key() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .http(&format!(
            "upstream two {{ server 127.0.0.1:{}; server {} backup; }}",
            closed_port(),
            upstream.address()
        ))
        .proxied("proxy_pass http://two; proxy_next_upstream error timeout non_idempotent;")
        .start();
    let client = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    assert_eq!(
        exchange.header("authorization"),
        Some(format!("Bearer {}", e2e::KEY).as_str())
    );
    gateway.wait_held(1, 0);
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
    assert_free(&gateway);
}

//! Streams of HTTP/2 that are cancelled, and connections that go with all of theirs.

use std::thread;
use std::time::{Duration, Instant};

use e2e::{Gateway, H2Client, Plan, RawUpstream, wait_until};

use super::{CHAT, USAGE, assert_exact, finish, plan, start, word};

const CANCELED: &str = "client canceled stream 1";

fn plan_of(listen: &str) -> Plan {
    plan().server(&format!("listen 127.0.0.1:{{tls_port}} http2 {listen};"))
}

fn client(gateway: &Gateway, window: u32) -> H2Client {
    let mut client = H2Client::connect(gateway.tls_port(), window);
    client.post(1, "/v1/chat/completions", CHAT);
    client
}

/// Another request on the same connection arrives whole.
#[track_caller]
fn assert_intact(mut client: H2Client, upstream: &RawUpstream) {
    client.post(3, "/v1/chat/completions", CHAT);
    let mut exchange = upstream.accept();
    exchange.begin_stream();
    finish(&mut exchange);
    assert!(client.read_to_end(3).ends_with("data: [DONE]\n\n"));
}

#[test]
fn a_stream_that_is_cancelled() {
    let (gateway, upstream) = start(plan_of(""));
    let mut client = client(&gateway, 1 << 20);
    let mut exchange = upstream.accept();
    exchange.begin_stream().event(&word("first"));
    client.read_until(1, "first");
    client.cancel(1);
    gateway.error_log().wait_for(CANCELED);
    exchange.event(&word("more"));
    gateway.wait_held(1, 0);
    finish(&mut exchange);
    assert_exact(&gateway, 200);
    assert_intact(client, &upstream);
}

#[test]
fn a_stream_that_is_cancelled_before_the_answer_begins() {
    let (gateway, upstream) = start(plan_of(""));
    let mut client = client(&gateway, 1 << 20);
    let mut exchange = upstream.accept();
    client.cancel(1);
    gateway.error_log().wait_for(CANCELED);
    exchange.begin_stream();
    finish(&mut exchange);
    assert_exact(&gateway, 499);
    assert_intact(client, &upstream);
}

/// nginx may send nothing more of it, has read what there is no room for, and times the client.
#[test]
fn a_stream_that_is_cancelled_when_its_window_is_full() {
    const PATIENCE: Duration = Duration::from_secs(4);
    let (gateway, upstream) = start(plan_of("").location("send_timeout 4s;"));
    let mut client = client(&gateway, 10_000);
    let mut exchange = upstream.accept();
    exchange.begin_stream();
    for _ in 0..100 {
        exchange.event(&word(&"x".repeat(1_000)));
    }
    client.read_bytes(1, 10_000);
    client.cancel(1);
    gateway.error_log().wait_for(CANCELED);
    let cancelled = Instant::now();
    wait_until("it would have timed out", || {
        cancelled.elapsed() > PATIENCE + PATIENCE / 4
    });
    gateway.wait_held(1, 0);
    finish(&mut exchange);
    assert_exact(&gateway, 200);
    drop(client);
}

/// Frames that have been announced stand before those of other streams: they go as they are.
#[test]
fn a_stream_that_is_cancelled_with_frames_on_their_way() {
    let (gateway, upstream) =
        start(plan_of("sndbuf=16k").server("location = /nowhere { access_log off; return 404; }"));
    let mut client = client(&gateway, 1 << 30);
    let mut exchange = upstream.accept();
    exchange.begin_stream().event(&word("first"));
    client.read_until(1, "first");
    let feeder = thread::spawn(move || {
        // More than all sockets between hold.
        for _ in 0..256 {
            exchange.event(&word(&"x".repeat(16_000)));
        }
        exchange.event(USAGE).end_stream();
    });
    // The client takes nothing, until frames must wait.
    wait_until("nginx can send no more", || blocked(&gateway));
    client.cancel(1);
    assert_intact_beside(client, &gateway);
    feeder.join().expect("nginx has read it all");
    assert_exact(&gateway, 200);
}

/// Whether nginx has answered a request that needs no slot, while the first one still runs: then
/// it has done what there was to do.
fn blocked(gateway: &Gateway) -> bool {
    gateway.held("main").held == 1 && gateway.get("/metrics").send().status == 200
}

/// An answer of nginx's own on the same connection arrives whole, behind those frames.
#[track_caller]
fn assert_intact_beside(mut client: H2Client, gateway: &Gateway) {
    client.post(3, "/nowhere", "{}");
    let answer = client.read_to_end(3);
    assert!(answer.contains("404"), "{answer}");
    gateway.error_log().wait_for(CANCELED);
}

#[test]
fn a_connection_that_goes_with_its_streams() {
    let (gateway, upstream) = start(plan_of("").pool("main", "key sk-e2e-main-0001 slots=2;"));
    let mut client = client(&gateway, 1 << 20);
    let mut first = upstream.accept();
    client.post(3, "/v1/chat/completions", CHAT);
    let mut second = upstream.accept();
    for exchange in [&mut first, &mut second] {
        exchange.begin_stream().event(&word("first"));
    }
    client.read_until(1, "first");
    client.read_until(3, "first");
    drop(client);
    for exchange in [&mut first, &mut second] {
        exchange.event(&word("more"));
    }
    gateway.wait_held(2, 0);
    finish(&mut first);
    finish(&mut second);
    let lines = gateway.logged(2);
    assert!(
        lines.iter().all(|line| super::used(line) == super::EXACT),
        "{lines:?}"
    );
    gateway.wait_held(0, 0);
}

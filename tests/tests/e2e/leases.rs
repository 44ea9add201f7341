//! One slot of a key serves one request at a time.

use std::time::{Duration, Instant};

use e2e::{Plan, RawUpstream, wait_until};

#[test]
fn the_second_request_waits_for_the_only_slot_and_gets_it() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let first = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    let second = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    let since = Instant::now();
    wait_until("the wait can be measured", || {
        since.elapsed() >= Duration::from_millis(20)
    });
    assert!(!upstream.is_called(), "the second must not go upstream yet");
    exchange.answer();
    first.join().expect("an answer").expect_status(200);
    upstream.accept().answer();
    second.join().expect("an answer").expect_status(200);

    let lines = gateway.logged(2);
    assert_eq!(lines[0].lease_status, "immediate");
    assert_eq!(lines[0].wait_ms, "0");
    assert_eq!(lines[1].lease_status, "waited");
    assert!(number(&lines[1].wait_ms) >= 10, "{:?}", lines[1]);
    assert_eq!(
        (&lines[0].key_id, &lines[0].slot),
        (&lines[1].key_id, &lines[1].slot)
    );
    assert_ne!(lines[0].lease_id, lines[1].lease_id);
    assert!(
        number(&lines[0].fence) < number(&lines[1].fence),
        "fences rise: {lines:?}"
    );
}

fn number(text: &str) -> u64 {
    text.parse()
        .unwrap_or_else(|_| panic!("no number: {text:?}"))
}

#[test]
fn a_key_with_two_slots_serves_two_requests_at_once() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .pool("main", "key sk-e2e-two-slots id=main slots=2;")
        .upstream(upstream.address())
        .start();
    assert_eq!(gateway.held("main").slots, 2);
    let clients: Vec<_> = (0..3).map(|_| gateway.chat().spawn()).collect();
    let (mut first, mut second) = (upstream.accept(), upstream.accept());
    gateway.wait_held(2, 1);
    assert!(!upstream.is_called(), "there is no third slot");
    first.answer();
    let mut third = upstream.accept();
    second.answer();
    third.answer();
    for client in clients {
        client.join().expect("an answer").expect_status(200);
    }
    let mut slots: Vec<_> = gateway
        .logged(3)
        .iter()
        .map(|line| line.slot.clone())
        .collect();
    slots.sort();
    slots.dedup();
    assert_eq!(slots.len(), 2, "two slots: {slots:?}");
}

#[test]
fn pools_have_slots_of_their_own() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .pool("main", "key sk-e2e-main id=m;")
        .pool("other", "key sk-e2e-other id=o;")
        .server("location /v1/other { openai other; proxy_pass http://upstream; }")
        .upstream(upstream.address())
        .start();
    let first = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    let second = gateway.get("/v1/other").spawn();
    let mut other = upstream.accept();
    assert_eq!(other.header("authorization"), Some("Bearer sk-e2e-other"));
    assert_eq!(
        (gateway.held("main").held, gateway.held("other").held),
        (1, 1)
    );
    other.answer();
    exchange.answer();
    first.join().expect("an answer").expect_status(200);
    second.join().expect("an answer").expect_status(200);
    let lines = gateway.logged(2);
    let mut pools: Vec<_> = lines.iter().map(|line| line.pool.as_str()).collect();
    pools.sort_unstable();
    assert_eq!(pools, ["main", "other"]);
}

#[test]
fn a_slot_is_shared_by_all_workers() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().workers(4).upstream(upstream.address()).start();
    let clients: Vec<_> = (0..12).map(|_| gateway.chat().spawn()).collect();
    for waiting in (0..12).rev() {
        let mut exchange = upstream.accept();
        gateway.wait_held(1, waiting);
        assert!(!upstream.is_called(), "one slot, one request");
        exchange.answer();
    }
    for client in clients {
        client.join().expect("an answer").expect_status(200);
    }
}

/// The stream takes three times the lease's life, and another client waits for the slot all the
/// while: it must not get it before the end.
#[test]
fn a_lease_is_renewed_for_as_long_as_its_stream_runs() {
    let gateway = Plan::new()
        .workers(2)
        .pool("main", "key sk-e2e-main-0001 id=main; lease_ttl 2s;")
        .start();
    let slow = gateway.chat().header("x-mock-delay", "2s");
    let first = slow.spawn();
    gateway.wait_in_flight(1);
    let second = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    assert_eq!(
        first.join().expect("an answer").expect_status(200).said(),
        "powered by openai"
    );
    second.join().expect("an answer").expect_status(200);
    let mut lines = gateway.logged(2);
    lines.sort_by_key(|line| number(&line.fence)); // two workers log as they like
    assert!(
        number(&lines[0].hold_ms) >= 4_000,
        "longer than the lease lives: {lines:?}"
    );
    assert_eq!(lines[1].lease_status, "waited");
    assert_eq!(gateway.mock().stats().max_in_flight_of_a_key(), 1);
}

#[test]
fn a_lease_is_renewed_while_the_upstream_has_not_answered_yet() {
    let gateway = Plan::new()
        .pool("main", "key sk-e2e-main-0001 id=main; lease_ttl 1s;")
        .start();
    let first = gateway
        .chat()
        .header("x-mock-header-delay", "2500ms")
        .spawn();
    gateway.wait_in_flight(1);
    let second = gateway.chat().spawn();
    first.join().expect("an answer").expect_status(200);
    second.join().expect("an answer").expect_status(200);
    assert_eq!(gateway.mock().stats().max_in_flight_of_a_key(), 1);
    assert_eq!(gateway.logged(2)[1].lease_status, "waited");
}

//! The queue for a slot.

use e2e::{Answer, Plan, RawUpstream, Refusal};

fn held_up(pool: &str) -> (e2e::Gateway, RawUpstream) {
    let upstream = RawUpstream::bind();
    let pool = format!("key sk-e2e-main-0001 id=main; {pool}");
    let gateway = Plan::new()
        .workers(2)
        .pool("main", &pool)
        .upstream(upstream.address())
        .start();
    (gateway, upstream)
}

#[track_caller]
fn assert_no_key(answer: &Answer) {
    assert_refused(answer, "no_key_available");
}

#[track_caller]
fn assert_refused(answer: &Answer, code: &str) {
    let refusal = Refusal::new(429, "rate_limit_exceeded", Some(code));
    assert_eq!(answer.refusal(), refusal);
    let seconds = answer
        .header("retry-after")
        .and_then(|value| value.parse::<u64>().ok());
    assert!(
        seconds.is_some_and(|s| s >= 1),
        "Retry-After: {:?}",
        answer.header("retry-after")
    );
}

#[test]
fn a_full_queue_refuses_at_once() {
    let (gateway, upstream) = held_up("queue 2;");
    let holder = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    let waiters = [gateway.chat().spawn(), gateway.chat().spawn()];
    gateway.wait_held(1, 2);
    assert_refused(&gateway.chat().send(), "queue_full");
    assert_eq!(gateway.logged(1)[0].lease_status, "queue_full");
    exchange.answer();
    holder.join().expect("an answer").expect_status(200);
    for _ in &waiters {
        upstream.accept().answer();
    }
    for waiter in waiters {
        waiter.join().expect("an answer").expect_status(200);
    }
}

#[test]
fn a_wait_that_lasts_too_long_is_refused() {
    let (gateway, upstream) = held_up("wait 150ms;");
    let holder = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    assert_no_key(&gateway.chat().send());
    let line = &gateway.logged(1)[0];
    assert_eq!(
        (line.lease_status.as_str(), line.key_id.as_str()),
        ("timeout", "")
    );
    let waited: u64 = line.wait_ms.parse().expect("a number");
    assert!((140..5_000).contains(&waited), "{line:?}");
    gateway.wait_held(1, 0);
    exchange.answer();
    holder.join().expect("an answer").expect_status(200);
}

#[test]
fn nobody_waits_with_a_wait_or_a_queue_of_nothing() {
    for (pool, code) in [("wait 0;", "no_key_available"), ("queue 0;", "queue_full")] {
        let (gateway, upstream) = held_up(pool);
        let holder = gateway.chat().spawn();
        let mut exchange = upstream.accept();
        assert_refused(&gateway.chat().send(), code);
        let line = &gateway.logged(1)[0];
        assert!(
            ["timeout", "queue_full"].contains(&line.lease_status.as_str()),
            "{line:?}"
        );
        exchange.answer();
        holder.join().expect("an answer").expect_status(200);
    }
}

#[test]
fn error_page_has_its_way_when_no_key_is_free() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .pool("main", "key sk-e2e-main-0001; wait 0;")
        .location("error_page 429 = @busy;")
        .server("location @busy { return 200 come-back-later; }")
        .upstream(upstream.address())
        .start();
    let holder = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    assert_eq!(
        gateway.chat().send().expect_status(200).text(),
        "come-back-later"
    );
    exchange.answer();
    holder.join().expect("an answer").expect_status(200);
}

#[test]
fn the_first_of_the_highest_priority_is_served_first() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .workers(2)
        .environment("LOW", "token-low")
        .environment("MIDDLE", "token-middle")
        .environment("HIGH", "token-high")
        .clients(
            "client low env:LOW priority=-1; client middle env:MIDDLE;
             client high env:HIGH priority=5;",
        )
        .upstream(upstream.address())
        .start();
    let call = |token: &str, name: &str| gateway.chat().token(token).header("x-name", name);
    let mut clients = vec![call("token-low", "holder").spawn()];
    let mut exchange = upstream.accept();
    let arrivals = [
        ("token-low", "low"),
        ("token-middle", "first middle"),
        ("token-high", "first high"),
        ("token-middle", "second middle"),
        ("token-high", "second high"),
    ];
    for (waiting, (token, name)) in (1..).zip(arrivals) {
        clients.push(call(token, name).spawn());
        gateway.wait_held(1, waiting);
    }
    for name in [
        "first high",
        "second high",
        "first middle",
        "second middle",
        "low",
    ] {
        exchange.answer();
        exchange = upstream.accept();
        assert_eq!(exchange.header("x-name"), Some(name));
    }
    exchange.answer();
    for client in clients {
        client.join().expect("an answer").expect_status(200);
    }
}

#[test]
fn a_client_that_leaves_while_waiting_frees_its_place() {
    let (gateway, upstream) = held_up("queue 1;");
    let holder = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    for _ in 0..3 {
        let mut leaving = gateway.connect();
        leaving.send(e2e::post("", "{}"));
        gateway.wait_held(1, 1);
        drop(leaving);
        gateway.wait_held(1, 0);
    }
    let lines = gateway.logged(3);
    assert!(
        lines
            .iter()
            .all(|l| (l.status, l.lease_status.as_str()) == (499, "client_left")),
        "{lines:?}"
    );
    let waiter = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    exchange.answer();
    holder.join().expect("an answer").expect_status(200);
    upstream.accept().answer();
    waiter.join().expect("an answer").expect_status(200);
    assert!(!upstream.is_called(), "those who left never went upstream");
}

#[test]
fn a_waiting_client_that_shuts_down_its_sending_side_is_served_or_gone_but_never_stuck() {
    let (gateway, upstream) = held_up("");
    let holder = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    let mut half_closed = gateway.connect();
    half_closed.send(e2e::post("", "{}"));
    gateway.wait_held(1, 1);
    half_closed.finish_sending();
    gateway.wait_held(1, 0);
    exchange.answer();
    holder.join().expect("an answer").expect_status(200);
}

#[test]
fn a_pipelined_request_waits_its_turn() {
    let (gateway, upstream) = held_up("");
    let request = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut client = gateway.connect();
    client
        .send(request)
        .send(request.replace("Host", "Connection: close\r\nHost"));
    upstream.accept().answer();
    upstream.accept().answer();
    assert_eq!(client.read_to_end().matches("HTTP/1.1 200 OK").count(), 2);
}

#[test]
fn what_a_waiting_client_sends_ahead_is_kept_for_later() {
    let (gateway, upstream) = held_up("");
    let holder = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    let request = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut client = gateway.connect();
    client.send(request);
    gateway.wait_held(1, 1);
    client.send(request.replace("Host", "Connection: close\r\nHost"));
    exchange.answer();
    holder.join().expect("an answer").expect_status(200);
    upstream.accept().answer();
    upstream.accept().answer();
    assert_eq!(client.read_to_end().matches("HTTP/1.1 200 OK").count(), 2);
}

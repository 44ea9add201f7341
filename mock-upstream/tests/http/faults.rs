//! What `X-Mock-…` headers ask for.

use std::io::ErrorKind;

use crate::wire::{CHAT, connect, quick, stalling, wait_until};

#[test]
fn a_status_is_an_error_of_that_status_on_every_path() {
    let mock = stalling();
    let mut client = connect(mock.addr());
    for (method, path) in [("POST", CHAT), ("GET", "/v1/models"), ("POST", "/v1/files")] {
        client.send(
            method,
            path,
            &[("X-Mock-Status", "429")],
            b"{\"stream\":true}",
        );
        let (head, json) = client.json();
        assert_eq!(head.status, 429);
        assert_eq!(json["error"]["type"], "requests");
        assert_eq!(json["error"]["code"], "rate_limit_exceeded");
        assert!(head.headers.contains_key("x-request-id"));
    }
    let totals = mock.stats().totals;
    assert_eq!(
        (totals.requests, totals.in_flight, totals.aborted),
        (3, 0, 0)
    );
}

#[test]
fn a_header_that_cannot_be_obeyed_is_a_bad_request() {
    let mock = quick();
    let mut client = connect(mock.addr());
    for (name, value) in [
        ("x-mock-delay", "soon"),
        ("x-mock-dealy", "1"),
        ("x-mock-status", "1"),
    ] {
        client.ask(&[(name, value)]);
        let (head, json) = client.json();
        assert_eq!(head.status, 400);
        assert_eq!(json["error"]["code"], "invalid_mock_header");
        assert_eq!(json["error"]["param"], name);
        assert!(
            json["error"]["message"]
                .as_str()
                .expect("a message")
                .contains(name)
        );
    }
}

#[test]
fn a_header_delay_keeps_the_headers_back() {
    let mock = quick();
    let mut client = connect(mock.addr());
    client.ask(&[("x-mock-header-delay", "1h"), ("x-mock-delay", "0")]);
    assert_eq!(client.json().0.status, 400, "there are no hours");

    let start = std::time::Instant::now();
    client.ask(&[("x-mock-header-delay", "30ms")]);
    let (head, chunks) = client.whole_stream();
    assert!(start.elapsed().as_millis() >= 30);
    assert_eq!(chunks.len(), 6);
    let reported: u64 = head.headers["openai-processing-ms"]
        .parse()
        .expect("a number");
    assert!(reported >= 30);

    let mut leaving = connect(mock.addr());
    leaving.ask(&[("x-mock-header-delay", "60m")]);
    wait_until("the request has arrived", || {
        mock.stats().totals.in_flight == 1
    });
    drop(leaving);
    wait_until("the client's leaving is noticed", || {
        mock.stats().totals.aborted == 1
    });
}

#[test]
fn a_reset_comes_after_the_chunks_asked_for() {
    for mock in [quick(), stalling()] {
        for count in [1, 2] {
            let mut client = connect(mock.addr());
            client.ask(&[("x-mock-reset-after", &count.to_string())]);
            assert_eq!(client.head().status, 200);
            for _ in 0..count {
                assert!(client.chunk().expect("a chunk").is_some());
            }
            let error = client.chunk().expect_err("the connection is gone");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        let totals = mock.stats().totals;
        assert_eq!(
            (totals.requests, totals.in_flight, totals.aborted),
            (2, 0, 0)
        );
    }
}

#[test]
fn a_reset_after_nothing_leaves_nothing_to_read_on_any_path() {
    let mock = quick();
    for (method, path) in [("POST", CHAT), ("GET", "/v1/models"), ("POST", "/v1/files")] {
        let mut client = connect(mock.addr());
        client.send(method, path, &[("x-mock-reset-after", "0")], b"");
        let error = client.rest().expect_err("no bytes, no end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let totals = mock.stats().totals;
    assert_eq!(
        (totals.requests, totals.in_flight, totals.aborted),
        (3, 0, 0)
    );
}

#[test]
fn a_reset_that_comes_too_late_changes_nothing() {
    let mock = quick();
    let mut client = connect(mock.addr());
    for _ in 0..2 {
        client.ask(&[("x-mock-reset-after", "6")]);
        assert_eq!(client.whole_stream().1.len(), 6);
    }
}

#[test]
fn a_stall_for_good_ends_when_the_client_leaves() {
    let mock = quick();
    let mut client = connect(mock.addr());
    client.ask(&[("x-mock-stall-after", "2")]);
    assert_eq!(client.head().status, 200);
    for _ in 0..2 {
        assert!(client.chunk().expect("a chunk").is_some());
    }
    assert_eq!(mock.stats().totals.in_flight, 1);
    drop(client);
    wait_until("the client's leaving is noticed", || {
        mock.stats().totals.aborted == 1
    });
}

//! Graceful quits while streams run.

use e2e::wait_until;

use crate::reload::{end, start, stream};

#[test]
fn a_graceful_quit_waits_for_streams() {
    let (mut gateway, upstream) = start("key sk-e2e-a;");
    let running = stream(&gateway, &upstream);
    gateway.quit();
    gateway.error_log().wait_for("gracefully shutting down");
    wait_until("nobody takes new requests", || {
        gateway.nginx().worker_pids().is_empty()
    });
    assert!(!gateway.nginx().has_ended());
    end(running);
    wait_until("nginx has ended", || gateway.nginx().has_ended());
}

#[test]
fn a_graceful_quit_serves_those_who_wait() {
    let (mut gateway, upstream) = start("key sk-e2e-a;");
    let running = stream(&gateway, &upstream);
    let waiting = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    gateway.quit();
    wait_until("nobody takes new requests", || {
        gateway.nginx().worker_pids().is_empty()
    });
    end(running);
    upstream.accept().answer();
    waiting.join().expect("an answer").expect_status(200);
    wait_until("nginx has ended", || gateway.nginx().has_ended());
}

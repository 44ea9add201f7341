//! Any Redlock client that uses the same names contends for the same slots.

use std::time::{Duration, Instant};

use e2e::{LogLine, Plan, RawUpstream, Redis, Refusal};

use super::{LOCK, number, plan, plan_with, wait_gone, wait_states};
use crate::reload;

/// Takes a lock as a plain client does, for so long; on how many nodes it could.
#[track_caller]
fn take(nodes: &[Redis], lock: &str, ms: u64) -> usize {
    let command = format!("SET {lock} somebody-else NX PX {ms}");
    nodes
        .iter()
        .filter(|redis| redis.ask(&command) == "OK")
        .count()
}

/// Gives it back.
#[track_caller]
fn give_back(nodes: &[Redis], lock: &str) {
    for redis in nodes {
        if redis.ask(&format!("GET {lock}")) == "somebody-else" {
            redis.ask(&format!("DEL {lock}"));
        }
    }
}

fn two_keys(nodes: &[Redis]) -> Plan {
    let pool = "key sk-e2e-a id=a; key sk-e2e-b id=b; store locks;";
    plan(nodes).pool("main", pool)
}

#[test]
fn a_slot_that_another_holds_is_free_when_its_lock_ends() {
    let nodes = Redis::group(3);
    let gateway = plan(&nodes).start();
    wait_states(&gateway, "up,up,up");
    let since = Instant::now();
    assert_eq!(take(&nodes[1..], LOCK, 3_000), 2);
    gateway.chat().send().expect_status(200);
    let waited = since.elapsed();
    assert!(waited >= Duration::from_millis(2_990), "{waited:?}");
    let line = &gateway.logged(1)[0];
    assert!(number(&line.wait_ms) >= 500, "{line:?}");
}

#[test]
fn a_slot_that_another_holds_is_free_when_it_is_given_back() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let gateway = plan(&nodes).upstream(upstream.address()).start();
    wait_states(&gateway, "up,up,up");
    assert_eq!(take(&nodes, LOCK, 60_000), 3);
    let waiting = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    assert!(!upstream.is_called(), "another holds the only slot");
    give_back(&nodes, LOCK);
    upstream.accept().answer();
    waiting.join().expect("an answer").expect_status(200);
}

#[test]
fn requests_that_get_no_key_are_refused() {
    for wait in ["wait 2s;", "wait 0;"] {
        let nodes = Redis::group(3);
        let gateway = plan_with(&nodes, "", wait).start();
        wait_states(&gateway, "up,up,up");
        gateway.chat().send().expect_status(200);
        gateway.wait_held(0, 0);
        wait_gone(&nodes, LOCK);
        assert_eq!(take(&nodes[..2], LOCK, 60_000), 2);
        assert_eq!(gateway.chat().send().refusal(), Refusal::no_key_available());
        let line = &gateway.logged(2)[1];
        assert_eq!(line.lease_status, "timeout");
        give_back(&nodes, LOCK);
    }
}

#[test]
fn another_key_is_taken_instead() {
    let nodes = Redis::group(3);
    let gateway = two_keys(&nodes).start();
    wait_states(&gateway, "up,up,up");
    assert_eq!(take(&nodes[..2], "{main}:l:a:0", 60_000), 2);
    for _ in 0..20 {
        gateway.chat().send().expect_status(200);
    }
    let lines = gateway.logged(20);
    assert!(lines.iter().all(|line| line.key_id == "b"), "{lines:?}");
    give_back(&nodes, "{main}:l:a:0");
}

/// Somebody else's try that came to nothing.
#[test]
fn a_minority_does_not_hold_a_slot() {
    let nodes = Redis::group(5);
    let gateway = plan(&nodes).start();
    wait_states(&gateway, "up,up,up,up,up");
    assert_eq!(take(&nodes[..2], LOCK, 60_000), 2);
    for _ in 0..5 {
        gateway.chat().send().expect_status(200);
    }
    assert_eq!(nodes[0].ask(&format!("GET {LOCK}")), "somebody-else");
    let lines = gateway.logged(5);
    // Far below the life of the other's lock.
    let soon = |line: &LogLine| number(&line.wait_ms) < 15_000;
    assert!(lines.iter().all(soon), "{lines:?}");
}

#[test]
fn another_cannot_take_what_the_gateway_holds() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let gateway = plan_with(&nodes, "", "lease_ttl 2s;")
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let stream = reload::stream(&gateway, &upstream);
    let until = Instant::now() + Duration::from_millis(3_000);
    while Instant::now() < until {
        assert!(take(&nodes, LOCK, 60_000) <= 1);
        give_back(&nodes, LOCK);
    }
    reload::end(stream);
    gateway.wait_held(0, 0);
    wait_gone(&nodes, LOCK);
    assert_eq!(take(&nodes, LOCK, 60_000), 3, "it is free now");
}

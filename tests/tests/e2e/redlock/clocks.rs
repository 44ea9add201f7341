//! Nodes whose clock is set forward.
//!
//! The clock of the machine cannot be set in a test. A worker reads a node's time from the expiry
//! of the guard, so an earlier expiry is the same to it as a later time.

use e2e::{Gateway, Redis, events_in, wait_until};

use super::{LOCK, holders, plan_with, status, wait_gone, wait_states};

/// When an open guard expires, in milliseconds.
const EXPIRY: u64 = 9_999_999_999_999;
const HOUR: u64 = 3_600_000;

fn set_forward(redis: &Redis, by_ms: u64) {
    let earlier = EXPIRY - by_ms;
    assert_eq!(redis.number(&format!("PEXPIREAT {{main}}:g {earlier}")), 1);
}

fn jumps(gateway: &Gateway) -> Vec<u64> {
    events_in(&gateway.error_log().text())
        .into_iter()
        .filter(|event| event["event"] == "redis_node_clock_jumped")
        .map(|event| event["by_ms"].as_u64().expect("a number"))
        .collect()
}

/// A machine that finds the slot of another one free, because the lock has expired early.
#[test]
fn the_vote_of_a_node_whose_clock_was_set_forward_does_not_count() {
    let mut nodes = Redis::group(3);
    let start = || plan_with(&nodes, "quarantine 10m;", "wait 0;").start();
    let (one, other) = (start(), start());
    for gateway in [&one, &other] {
        wait_states(gateway, "up,up,up");
        gateway.chat().send().expect_status(200);
        wait_gone(&nodes, LOCK);
    }
    // The lock of another machine, granted by the first two nodes, which the first has lost.
    let foreign = format!("SET {LOCK} another PX 600000");
    nodes[1].ask(&foreign);
    set_forward(&nodes[0], HOUR);
    one.chat().send().expect_status(429);
    wait_states(&one, "quarantined,up,up");
    wait_until("votes without a majority are released", || {
        holders(&nodes, LOCK) == 1
    });
    let seen = jumps(&one);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!((HOUR - 1_000..=HOUR).contains(&seen[0]), "{seen:?}");

    // The other machine has sent no request, and notices it by the node check.
    wait_states(&other, "quarantined,up,up");
    nodes[1].ask(&format!("DEL {LOCK}"));
    one.chat().send().expect_status(200);
    nodes[2].kill();
    wait_states(&one, "quarantined,up,down");
    one.chat().send().expect_status(503);
}

/// A guard of an earlier version has no expiry.
#[test]
fn a_guard_without_an_expiry_gets_one() {
    let nodes = Redis::group(3);
    for redis in &nodes {
        redis.ask("SET {main}:g 0");
    }
    let gateway = plan_with(&nodes, "", "").start();
    wait_states(&gateway, "up,up,up");
    gateway.chat().send().expect_status(200);
    for redis in &nodes {
        let set = || redis.number("PTTL {main}:g") > 0;
        wait_until("the guard has an expiry", set);
    }
    assert!(jumps(&gateway).is_empty());
    assert_eq!(status(&gateway)["nodes"][0]["state"], "up");
}

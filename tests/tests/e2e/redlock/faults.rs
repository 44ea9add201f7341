//! A minority of nodes fails: requests go on, and no key is lent twice.

use std::thread;
use std::time::{Duration, Instant};

use e2e::{Load, LoadOutcome, RawUpstream, Redis, wait_until};

use super::witness::{Pair, eight_keys};
use super::{LOCK, holders, plan_with, states, wait_gone, wait_states};
use crate::reload;

/// While clients call two machines, does something to the nodes.
#[track_caller]
fn under_load(
    in_pool: &str,
    nodes: &mut [Redis],
    disturb: impl FnOnce(&mut [Redis], &Pair, &Load),
) {
    let pair = Pair::start(eight_keys(nodes, in_pool), 1);
    pair.wait_states(&vec!["up"; nodes.len()].join(","));
    let load = pair.load(usize::MAX);
    load.wait_more(50);
    disturb(nodes, &pair, &load);
    let outcomes = load.stop();
    assert_eq!(outcomes.len(), 1, "no error at all: {outcomes:?}");
    let served = outcomes.get(&LoadOutcome::Complete).copied().unwrap_or(0);
    assert!(served >= 200, "{outcomes:?}");
    pair.assert_exclusive(nodes);
}

#[test]
fn a_node_that_is_silent_for_a_while() {
    under_load("", &mut Redis::group(3), |nodes, pair, load| {
        for (at, redis) in nodes.iter().enumerate() {
            redis.pause();
            pair.wait_silent(&[at]);
            load.wait_more(100);
            redis.resume();
            pair.wait_states("up,up,up");
        }
    });
}

#[test]
fn two_nodes_of_five_that_are_silent_for_a_while() {
    under_load("", &mut Redis::group(5), |nodes, pair, load| {
        nodes[1].pause();
        nodes[3].pause();
        pair.wait_silent(&[1, 3]);
        load.wait_more(200);
        nodes[1].resume();
        nodes[3].resume();
        pair.wait_states("up,up,up,up,up");
    });
}

/// Out of memory, read-only for a while, with its scripts gone, with all that it knew gone.
#[test]
fn nodes_that_answer_errors_or_forget() {
    under_load(
        "lease_ttl 6s;",
        &mut Redis::group(3),
        |nodes, pair, load| {
            // One at a time: the next may only fail when the last one votes again.
            let pause = || {
                load.wait_more(100);
                pair.wait_states("up,up,up");
            };
            nodes[0].ask("CONFIG SET maxmemory 1");
            pair.wait_states("failing,up,up");
            load.wait_more(100);
            nodes[0].ask("CONFIG SET maxmemory 0");
            pause();
            for redis in &*nodes {
                redis.ask("SCRIPT FLUSH");
            }
            pause();
            nodes[1].ask("FLUSHALL");
            pause();
            nodes[2].ask(&format!("REPLICAOF 127.0.0.1 {}", nodes[0].port()));
            load.wait_more(100);
            nodes[2].ask("REPLICAOF NO ONE");
            pause();
            nodes[0].ask("CLIENT KILL TYPE normal");
            pause();
        },
    );
}

/// None of them is of use, and each reports why, once; the others do.
#[test]
fn nodes_that_cannot_be_nodes() {
    let mut nodes = Redis::group(5);
    let replica = format!("--replicaof 127.0.0.1 {}", nodes[0].port());
    nodes.push(Redis::start_with(&replica));
    nodes.push(Redis::start_with("--maxmemory-policy allkeys-lru"));
    let locked = Redis::start_with("--requirepass pa-ss-of-another");
    let unnamed = Redis::start_with("--requirepass pa-ss-of-another");
    let wrong = locked.url().replace("//", "//:pa-ss-of-ours@");
    let gateway = plan_with(
        &nodes,
        &format!("node {wrong}; node {};", unnamed.url()),
        "",
    )
    .start();
    wait_states(&gateway, "up,up,up,up,up,down,down,down,down");
    for _ in 0..5 {
        gateway.chat().send().expect_status(200);
    }
    let text = gateway.error_log().text();
    let reasons = [
        "replica",
        "allkeys-lru",
        "AUTH was refused",
        "INFO was refused",
    ];
    for (redis, reason) in nodes[5..].iter().chain([&locked, &unnamed]).zip(reasons) {
        let name = format!("\"node\":\"127.0.0.1:{}\"", redis.port());
        let mut lines = text.lines().filter(|line| line.contains(&name));
        let line = lines.next().expect("a line");
        assert!(line.contains(reason), "{line}");
        assert_eq!(lines.next(), None, "reported once");
    }
    assert!(!text.contains("pa-ss"), "a password is reported");
}

#[test]
fn a_lock_that_a_node_has_forgotten_is_put_back() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let gateway = plan_with(&nodes, "", "lease_ttl 2s;")
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let stream = reload::stream(&gateway, &upstream);
    wait_until("every node has the lock", || holders(&nodes, LOCK) == 3);
    let nonce = nodes[0].ask(&format!("GETRANGE {LOCK} 0 31"));
    for redis in &nodes {
        redis.ask("FLUSHALL");
        wait_until("the lock is back", || {
            redis.ask(&format!("GETRANGE {LOCK} 0 31")) == nonce
        });
    }
    for redis in &nodes {
        redis.ask("SCRIPT FLUSH");
    }
    for redis in &nodes {
        let left = || redis.number(&format!("PTTL {LOCK}"));
        let mut before = left();
        wait_until("the lock is prolonged", || {
            let now = left();
            now > std::mem::replace(&mut before, now)
        });
    }
    assert_eq!(holders(&nodes, LOCK), 3);
    reload::end(stream);
    gateway.wait_held(0, 0);
    wait_gone(&nodes, LOCK);
}

/// What another machine asked for in vain meanwhile does not keep the lock off the node: it is
/// needed there when others go.
#[test]
fn a_lock_is_put_back_where_another_has_proposed_a_higher_fence() {
    let nodes = Redis::group(5);
    let upstream = RawUpstream::bind();
    let gateway = plan_with(&nodes, "", "lease_ttl 2s;")
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up,up,up");
    let stream = reload::stream(&gateway, &upstream);
    wait_until("every node has the lock", || holders(&nodes, LOCK) == 5);
    let (lost, others) = nodes.split_last().expect("five nodes");
    lost.ask("ZADD {main}:f 5000000000000000 main:0");
    lost.ask(&format!("DEL {LOCK}"));
    wait_until("the lock is back", || holders(&nodes, LOCK) == 5);
    others[..2].iter().for_each(Redis::pause);
    let until = Instant::now() + Duration::from_millis(4_000);
    while Instant::now() < until {
        assert_eq!(holders(&nodes[2..], LOCK), 3);
        thread::sleep(Duration::from_millis(20));
    }
    others[..2].iter().for_each(Redis::resume);
    reload::end(stream);
    gateway.wait_held(0, 0);
}

/// Its guard has gone with all the rest: it does not vote before all that it may have forgotten
/// has ended.
#[test]
fn a_node_that_comes_back_empty_is_in_quarantine() {
    let mut nodes = Redis::group(3);
    for redis in &nodes {
        // As on nodes that have known the pool for long.
        redis.ask("SET {main}:g 0");
    }
    let gateway = plan_with(&nodes, "quarantine 5s;", "lease_ttl 1s;").start();
    wait_states(&gateway, "up,up,up");
    nodes[2].kill();
    wait_states(&gateway, "up,up,down");
    nodes[2].restart();
    wait_states(&gateway, "up,up,quarantined");
    gateway.chat().send().expect_status(200);
    assert_eq!(nodes[2].ask("EXISTS {main}:f"), "0", "it has not voted");
    wait_states(&gateway, "up,up,up");
    wait_until("it votes again", || {
        gateway.chat().send().expect_status(200);
        nodes[2].ask("EXISTS {main}:f") == "1"
    });
}

/// As long as it refuses its vote, it is not `up`.
#[test]
fn a_node_in_quarantine_is_not_said_to_be_up() {
    let mut nodes = Redis::group(3);
    for redis in &nodes {
        redis.ask("SET {main}:g 0");
    }
    let gateway = plan_with(&nodes, "quarantine 1s;", "lease_ttl 1s;").start();
    wait_states(&gateway, "up,up,up");
    for at in [0, 1, 2] {
        nodes[at].kill();
        wait_states(&gateway, ["down,up,up", "up,down,up", "up,up,down"][at]);
        nodes[at].restart();
        wait_until("all are up", || {
            gateway.chat().send().expect_status(200);
            states(&gateway) == "up,up,up"
        });
    }
}

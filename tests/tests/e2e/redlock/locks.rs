//! A lease is a lock on the group's nodes.

use std::time::{Duration, Instant};

use e2e::{LogLine, RawUpstream, Redis, wait_until};

use super::{
    LOCK, group, holders, number, on_group, plan, plan_with, states, wait_gone, wait_states,
};
use crate::reload;

fn assert_rising(lines: &[LogLine]) {
    let fences: Vec<_> = lines.iter().map(|line| number(&line.fence)).collect();
    assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
}

#[test]
fn a_stream_has_its_lock_on_one_three_four_and_five_nodes() {
    for count in [1, 3, 4, 5] {
        let nodes = Redis::group(count);
        let upstream = RawUpstream::bind();
        let gateway = plan(&nodes).upstream(upstream.address()).start();
        wait_states(&gateway, &vec!["up"; count].join(","));
        for _ in 0..3 {
            let stream = reload::stream(&gateway, &upstream);
            wait_until("every node has the lock", || {
                holders(&nodes, LOCK) == count as i64
            });
            reload::end(stream);
            gateway.wait_held(0, 0);
            wait_gone(&nodes, LOCK);
        }
        let lines = gateway.logged(3);
        assert_rising(&lines);
        for line in &lines {
            let lease = (line.key_id.as_str(), line.slot.as_str());
            assert_eq!(lease, ("main", "0"), "{line:?}");
            assert_eq!(
                (line.status, line.lease_status.as_str()),
                (200, "immediate")
            );
            assert_eq!(line.lease_id.len(), 32, "{line:?}");
        }
    }
}

/// By a socket in the file system, in another database, with a password from the address, of the
/// group, from the environment, or as a user.
#[test]
fn nodes_are_reached_in_every_way() {
    let nodes = [
        Redis::start_with("--requirepass pa-ss-of-node"),
        Redis::start_with("--requirepass pa-ss-of-group"),
        Redis::start_with("--user worker on >pa-ss-of-user ~* &* +@all --user default off"),
        Redis::start_with("--requirepass pa-ss-of-group"),
    ];
    let address = |at: usize| nodes[at].url().replace("redis://", "");
    let urls = format!(
        "redis://:pa-ss-of-node@{}, redis://worker:pa-ss-of-user@{}/2",
        address(0),
        address(2)
    );
    let group = format!(
        "openai_redlock locks {{ node env:NODES; node {}/3; node {}; bootstrap on; prefix app:;
         password file:{{dir}}/password; }}",
        nodes[1].url(),
        nodes[3].unix_url()
    );
    let gateway = on_group(&group)
        .pool("main", "key sk-e2e-main-0001 id=main; store locks;")
        .environment("NODES", &urls)
        .file("password", "pa-ss-of-group\n")
        .start();
    wait_states(&gateway, "up,up,up,up");
    gateway.chat().send().expect_status(200);
    assert!(!gateway.error_log().text().contains("pa-ss-of"));
}

#[test]
fn every_slot_has_a_lock_of_its_own_under_the_prefix() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let gateway = plan_with(&nodes, "prefix app:;", "")
        .pool("main", "key sk-e2e-two id=two slots=2; store locks;")
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let clients = [gateway.chat().spawn(), gateway.chat().spawn()];
    let mut exchanges = [upstream.accept(), upstream.accept()];
    for slot in 0..2 {
        let lock = format!("app:{{main}}:l:two:{slot}");
        wait_until("the lock is there", || holders(&nodes, &lock) == 3);
    }
    exchanges.iter_mut().for_each(|exchange| exchange.answer());
    for client in clients {
        client.join().expect("an answer").expect_status(200);
    }
    gateway.wait_held(0, 0);
    wait_until("no lock is left", || {
        nodes.iter().all(|redis| redis.ask("KEYS *:l:*").is_empty())
    });
}

#[test]
fn a_stream_that_outlives_the_ttl_keeps_its_lock() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let gateway = plan_with(&nodes, "", "lease_ttl 2s;")
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let stream = reload::stream(&gateway, &upstream);
    wait_until("every node has the lock", || holders(&nodes, LOCK) == 3);
    let nonce = nodes[0].ask(&format!("GET {LOCK}"));
    let until = Instant::now() + Duration::from_millis(3_000);
    while Instant::now() < until {
        for redis in &nodes {
            let left = redis.number(&format!("PTTL {LOCK}"));
            assert!((1..=2_000).contains(&left), "{left} ms left");
            assert_eq!(redis.ask(&format!("GET {LOCK}")), nonce);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    reload::end(stream);
    gateway.wait_held(0, 0);
    wait_gone(&nodes, LOCK);
}

/// A worker that is stopped prolongs the locks of its streams, and gives them back.
#[test]
fn a_stream_of_an_old_worker_keeps_its_lock() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let mut gateway = plan_with(&nodes, "", "lease_ttl 2s;")
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let stream = reload::stream(&gateway, &upstream);
    wait_until("every node has the lock", || holders(&nodes, LOCK) == 3);
    let nonce = nodes[0].ask(&format!("GET {LOCK}"));
    gateway.reload(|plan| plan);
    let waiting = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    let until = Instant::now() + Duration::from_millis(3_000);
    while Instant::now() < until {
        assert_eq!(nodes[0].ask(&format!("GET {LOCK}")), nonce);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!upstream.is_called(), "the slot is still held");
    reload::end(stream);
    upstream.accept().answer();
    waiting.join().expect("an answer").expect_status(200);
    gateway.wait_held(0, 0);
    wait_gone(&nodes, LOCK);
}

/// A pool in shared memory and one on the nodes have nothing to do with each other.
#[test]
fn pools_of_both_kinds_side_by_side() {
    let nodes = Redis::group(3);
    let gateway = on_group(&group(&nodes, "bootstrap on;"))
        .pool("main", "key sk-e2e-main-0001 id=main; store shm;")
        .pool("other", "key sk-e2e-other id=o; store locks;")
        .server("location /v1/other { openai other; proxy_pass http://upstream/v1/models; }")
        .start();
    assert_eq!(states(&gateway), "");
    gateway.chat().send().expect_status(200);
    wait_until("the other pool has its nodes", || {
        gateway.get("/v1/other").send().status == 200
    });
    assert_eq!(nodes[0].ask("KEYS {main}*"), "");
}

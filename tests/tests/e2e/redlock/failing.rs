//! Nodes that answer in time, and by errors: they do not vote, and the log says so.

use std::fs;
use std::path::Path;

use e2e::{Gateway, Redis, events_in, wait_until};
use serde_json::Value;

use super::{plan, status, wait_states};

/// What is done to a node, what undoes it, and how the node calls it.
const FAULTS: [(&str, &str, &str); 5] = [
    ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"),
    (
        "CONFIG SET min-replicas-to-write 1",
        "CONFIG SET min-replicas-to-write 0",
        "NOREPLICAS",
    ),
    (
        "ACL SETUSER default -set",
        "ACL SETUSER default +set",
        "NOPERM",
    ),
    ("SET {main}:f text", "DEL {main}:f", "WRONGTYPE"),
    // Of a master that it does not reach.
    ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "READONLY"),
];

/// The events of this name about a node.
fn events(gateway: &Gateway, name: &str, redis: &Redis) -> Vec<Value> {
    let node = format!("127.0.0.1:{}", redis.port());
    events_in(&gateway.error_log().text())
        .into_iter()
        .filter(|event| event["event"] == name && event["node"] == *node)
        .collect()
}

#[test]
fn a_node_that_answers_errors_does_not_vote_until_it_answers_well() {
    let nodes = Redis::group(3);
    let gateway = plan(&nodes).start();
    wait_states(&gateway, "up,up,up");
    for (times, (fault, remedy, error)) in FAULTS.into_iter().enumerate() {
        nodes[1].ask(fault);
        gateway.chat().send().expect_status(200);
        wait_states(&gateway, "up,failing,up");
        assert_eq!(status(&gateway)["nodes"][1]["error"], error);
        gateway.chat().send().expect_status(200);
        nodes[1].ask(remedy);
        wait_states(&gateway, "up,up,up");
        assert_eq!(status(&gateway)["nodes"][1]["error"], Value::Null);
        let failing = events(&gateway, "redis_node_failing", &nodes[1]);
        assert_eq!(failing.len(), times + 1, "{error}: {failing:?}");
        assert_eq!(failing[times]["error"], error);
        let voting = events(&gateway, "redis_node_voting", &nodes[1]);
        assert_eq!(voting.len(), times + 1, "{error}: {voting:?}");
    }
    gateway.wait_held(0, 0);
    for redis in [&nodes[0], &nodes[2]] {
        assert!(events(&gateway, "redis_node_failing", redis).is_empty());
    }
}

/// A server that is to write its data to a disk, and cannot, takes no more writes.
#[test]
fn a_node_that_cannot_save_does_not_vote() {
    let nodes = [
        Redis::start(),
        Redis::start_with("--save 3600 1"),
        Redis::start(),
    ];
    let gateway = plan(&nodes).start();
    wait_states(&gateway, "up,up,up");
    let dir = nodes[1].ask("CONFIG GET dir");
    let dir = dir.lines().last().expect("a path");
    let file = Path::new(dir).join("dump.rdb");
    fs::create_dir(&file).expect("the server's directory is writable");
    nodes[1].ask("BGSAVE");
    wait_until("it has failed to save", || {
        let said = nodes[1].ask("INFO persistence");
        said.contains("rdb_last_bgsave_status:err")
    });
    wait_states(&gateway, "up,failing,up");
    assert_eq!(status(&gateway)["nodes"][1]["error"], "MISCONF");
    for _ in 0..3 {
        gateway.chat().send().expect_status(200);
    }
    let failing = events(&gateway, "redis_node_failing", &nodes[1]);
    assert_eq!(failing.len(), 1, "{failing:?}");
    assert_eq!(failing[0]["error"], "MISCONF");
    fs::remove_dir(&file).expect("the directory can be removed");
    nodes[1].ask("BGSAVE");
    wait_states(&gateway, "up,up,up");
    assert_eq!(events(&gateway, "redis_node_voting", &nodes[1]).len(), 1);
}

/// Nobody has to ask for a lock for that.
#[test]
fn it_is_noticed_without_requests() {
    let nodes = Redis::group(3);
    nodes[0].ask("CONFIG SET maxmemory 1");
    let gateway = plan(&nodes).start();
    wait_states(&gateway, "failing,up,up");
    nodes[2].ask("CONFIG SET min-replicas-to-write 1");
    wait_states(&gateway, "failing,up,failing");
    nodes[0].ask("CONFIG SET maxmemory 0");
    nodes[2].ask("CONFIG SET min-replicas-to-write 0");
    wait_states(&gateway, "up,up,up");
    gateway.chat().send().expect_status(200);
}

/// A trial leaves nothing behind, and a server that has forgotten its scripts passes it.
#[test]
fn a_trial_changes_nothing() {
    let nodes = Redis::group(3);
    let gateway = plan(&nodes).start();
    wait_states(&gateway, "up,up,up");
    nodes[0].ask("SCRIPT FLUSH");
    nodes[0].ask("CONFIG RESETSTAT");
    wait_until("the node is tried", || {
        nodes[0]
            .ask("INFO commandstats")
            .contains("cmdstat_evalsha")
    });
    wait_states(&gateway, "up,up,up");
    assert!(!gateway.error_log().text().contains("redis_node_failing"));
    assert_eq!(nodes[0].ask("KEYS {main}:*"), "{main}:g");
}

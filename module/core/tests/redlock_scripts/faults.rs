//! Nodes that reject commands: their answers, and that nothing was half done.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use openai_core::redlock::{ErrorKind, Script, Value};

use crate::bed::{LONG, Memory, acquire, names, release, renew, slot};
use crate::server::{Connection, Server};

fn error_of(node: &mut Connection) -> Value {
    node.run(&acquire(&[0], 1, 1), &names())
}

/// The node may begin to reject commands between the two.
fn eventually(node: &mut Connection, kind: ErrorKind) {
    let seen = (1..500).any(|fence| {
        sleep(Duration::from_millis(10));
        let granted = node.run(&acquire(&[0], 1, fence), &names());
        let given_back = node.run(&release(&[0], 1), &names());
        [granted, given_back].contains(&Value::Error(kind))
    });
    assert!(seen, "{kind:?} expected");
}

#[test]
#[ignore = "starts redis-server"]
fn without_memory_nothing_is_granted_and_what_is_held_can_be_kept_and_given_back() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    node.run(&acquire(&[0], 1, 10), &names());
    node.run(&acquire(&[1], 2, 10), &names());
    let before = Memory::of_node(&mut node);
    node.ok(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = node.run(&acquire(&[2], 3, 11), &names());
    assert_eq!(refused, Value::Error(ErrorKind::OutOfMemory));
    assert_eq!(Memory::of_node(&mut node), before, "nothing was written");
    // The lost lease comes first and must not stop the others.
    let prolonged = node.run(
        &renew(&[(3, 4, 10), (0, 1, 10), (1, 9, 10)], LONG),
        &names(),
    );
    assert_eq!(
        prolonged,
        Value::Array(vec![Value::Int(-2), Value::Int(1), Value::Int(0)])
    );
    let given_back = node.run(&release(&[1], 2), &names());
    assert_eq!(
        given_back,
        Value::Array(vec![Value::Int(1), Value::Bytes(vec![])])
    );
    node.ok(&["CONFIG", "SET", "maxmemory", "0"]);
    let granted = node.run(&acquire(&[1], 3, 12), &names());
    assert!(
        matches!(&granted, Value::Array(parts) if parts[..2] == [Value::Int(1), Value::Int(0)])
    );
}

#[test]
#[ignore = "starts redis-server"]
fn a_replica_is_read_only_and_one_without_its_master_says_so() {
    let server = Server::start(&["--replicaof", "127.0.0.1 1"]);
    let mut node = server.connect();
    assert_eq!(error_of(&mut node), Value::Error(ErrorKind::ReadOnly));
    let renewed = node.run(&renew(&[(0, 1, 1)], LONG), &names());
    assert_eq!(renewed, Value::Array(vec![Value::Int(-2)]));
    node.ok(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    assert_eq!(error_of(&mut node), Value::Error(ErrorKind::MasterDown));
}

#[test]
#[ignore = "starts redis-server"]
fn passwords_scripts_and_replicas_that_are_missing() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    let sha = "0".repeat(40);
    assert_eq!(
        node.ask(&["EVALSHA", &sha, "0"]),
        Value::Error(ErrorKind::NoScript)
    );
    node.ok(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_eq!(error_of(&mut node), Value::Error(ErrorKind::NoReplicas));
    node.ok(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    node.ok(&["CONFIG", "SET", "requirepass", "secret"]);
    // A call of this length is not even read.
    let denied = Value::Error(ErrorKind::Denied);
    assert_eq!(error_of(&mut server.connect()), denied);
    let mut stranger = server.connect();
    assert_eq!(stranger.ask(&["PING"]), denied);
    assert_eq!(stranger.ask(&["AUTH", "guess"]), denied);
    stranger.ok(&["AUTH", "secret"]);
    assert!(matches!(error_of(&mut stranger), Value::Array(_)));
}

#[test]
#[ignore = "starts redis-server"]
fn a_node_that_cannot_persist() {
    let server = Server::start(&["--save", "3600 1"]);
    let mut node = server.connect();
    fs::remove_dir_all(&server.dir).unwrap();
    node.ask(&["SET", "x", "1"]);
    node.ask(&["BGSAVE"]);
    eventually(&mut node, ErrorKind::Misconfigured);
    fs::create_dir_all(&server.dir).unwrap();
}

#[test]
#[ignore = "starts redis-server"]
fn a_node_in_an_endless_script() {
    let server = Server::start(&["--busy-reply-threshold", "20"]);
    let (mut stuck, mut node) = (server.connect(), server.connect());
    stuck.send(&["EVAL", "while true do end", "0"]);
    eventually(&mut node, ErrorKind::Busy);
    node.ok(&["SCRIPT", "KILL"]);
    assert_eq!(stuck.receive(), Value::Error(ErrorKind::Other));
    assert!(matches!(error_of(&mut node), Value::Array(_)));
}

#[test]
#[ignore = "starts redis-server"]
fn a_lock_of_another_type_is_an_error_not_a_free_slot() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    node.ask(&["HSET", &names().lock(&slot(0)), "a", "b"]);
    assert_eq!(error_of(&mut node), Value::Error(ErrorKind::WrongType));
}

#[test]
#[ignore = "starts redis-server"]
fn every_script_can_be_loaded() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    for script in Script::ALL {
        let sha = node.texts(&["SCRIPT", "LOAD", script.source()]);
        assert_eq!(sha[0].len(), 40, "{script:?}");
    }
}

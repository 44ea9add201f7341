//! The connection to a node: setup, failure, silence, refusal and reconnection.

use std::io;
use std::rc::Rc;

use openai_core::redlock::{Drift, ErrorKind, NodeId, Script};
use zeroize::Zeroizing;

use super::scripted::{Bench, Far};
use crate::node::{Heard, Node, NodeState, NodeTarget, Rules};

const POOL: &str = "t:{p}:";
const TRIAL: &str = "TRIAL\r\n";
/// The reply to HELLO of a server with RESP3.
const NEW: &str = "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n";
/// The reply to HELLO of a server without RESP3.
const OLD: &str = "-ERR unknown command 'HELLO'\r\n";
const SUBSCRIBED: &str = ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";

struct Bed {
    node: Node<Bench, u32>,
    bench: Bench,
    now: u64,
    heard: Vec<Heard<u32>>,
}

fn target() -> NodeTarget<&'static str> {
    NodeTarget {
        name: "n".into(),
        address: "here",
        user: None,
        password: None,
        database: 0,
    }
}

fn bed(target: NodeTarget<&'static str>) -> Bed {
    let rules = Rules {
        timeout_ms: 50,
        quarantine_ms: 1_000,
        bootstrap: true,
        drift: Drift::default(),
        shortest_ttl_ms: 1_000,
        channels: Rc::new(["wakes".to_owned(), "cool_downs".to_owned()]),
        check: (TRIAL.as_bytes().into(), 2),
    };
    Bed {
        node: Node::new(NodeId(0), target, rules),
        bench: Bench::default(),
        now: 1_000,
        heard: vec![],
    }
}

/// The reply to INFO.
fn info(run_id: &str, role: &str) -> String {
    let text = format!("run_id:{run_id}\r\nuptime_in_seconds:1000\r\nrole:{role}\r\n");
    format!("${}\r\n{text}\r\n", text.len())
}

/// The replies to SCRIPT LOAD of all scripts.
fn loaded() -> String {
    "$3\r\nsha\r\n".repeat(Script::ALL.len())
}

impl Bed {
    fn tend(&mut self) {
        self.bench.now_us = self.now * 1_000;
        self.node
            .tend(self.now, 0, &mut self.bench, &mut self.heard);
    }

    fn wait(&mut self, ms: u64) {
        self.now += ms;
        self.tend();
    }

    /// Reports that the connection can be read and written.
    fn arrived(&mut self) {
        self.bench.now_us = self.now * 1_000;
        self.node
            .arrived(self.now, &mut self.bench, &mut self.heard);
    }

    fn send(&mut self, name: u32) -> bool {
        let now_us = self.now * 1_000;
        let is_sent = self.node.send(b"PING\r\n", 1, name, now_us).is_ok();
        self.node.flush(self.now, &mut self.bench, &mut self.heard);
        is_sent
    }

    fn heard(&mut self) -> Vec<String> {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let shown = |heard| match heard {
            Heard::Reply(name, value, _) => format!("{name}: {value:?}"),
            Heard::Broken(name) => format!("{name} broken"),
            Heard::Opened => "opened".to_owned(),
            Heard::Message {
                channel,
                text: said,
            } => format!("{}: {}", text(channel), text(said)),
        };
        std::mem::take(&mut self.heard)
            .into_iter()
            .map(shown)
            .collect()
    }

    fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.bench.log)
    }

    fn state(&self) -> NodeState {
        self.node.report(POOL, self.now).state
    }

    /// Connects, and sends the server's replies to the first commands.
    fn open(&mut self, hello: &str, run_id: &str) -> Far {
        self.tend();
        let far = self.bench.last();
        far.sends(hello);
        far.sends(info(run_id, "master"));
        far.sends(loaded());
        if hello == NEW {
            far.sends(SUBSCRIBED.repeat(2));
        }
        far.sends("+OK\r\n+OK\r\n");
        self.arrived();
        assert!(self.node.is_open());
        self.node.in_quarantine(POOL, self.now);
        far
    }
}

#[test]
fn it_is_open_once_all_greetings_have_been_answered() {
    let mut bed = bed(target());
    bed.tend();
    let far = bed.bench.last();
    bed.arrived();
    let sent = far.received();
    assert!(sent.starts_with("*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*1\r\n$4\r\nINFO\r\n*3\r\n"));
    assert_eq!(sent.matches("$4\r\nLOAD\r\n").count(), Script::ALL.len());
    assert!(!sent.contains("AUTH") && !sent.contains("SELECT"));
    far.sends_slowly(&[NEW, &info("1", "master")].concat());
    let scripts = loaded();
    let (all_but_one, last) = scripts.split_at(scripts.len() - 9);
    far.sends(all_but_one);
    for _ in 0..200 {
        bed.arrived();
    }
    assert!(!bed.node.is_open() && !bed.send(1));
    far.sends(last);
    bed.arrived();
    assert!(bed.node.is_open());
    assert_eq!(bed.heard(), ["opened"]);
    bed.node.flush(bed.now, &mut bed.bench, &mut bed.heard);
    let sent = far.received();
    assert_eq!(sent.matches("SUBSCRIBE").count(), 2);
    assert!(sent.ends_with(TRIAL));
    assert_eq!(bed.log(), [""; 0]);
}

#[test]
fn it_logs_in_and_selects_its_database() {
    let mut bed = bed(NodeTarget {
        user: Some("u".into()),
        password: Some(Rc::new(Zeroizing::new("secret".into()))),
        database: 3,
        ..target()
    });
    bed.tend();
    let far = bed.bench.last();
    bed.arrived();
    let sent = far.received();
    assert!(sent.starts_with("*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$6\r\nsecret\r\n"));
    assert!(sent.contains("SELECT\r\n$1\r\n3\r\n"));
}

#[test]
fn a_refused_password_closes_it_and_is_logged_once() {
    let mut bed = bed(NodeTarget {
        password: Some(Rc::new(Zeroizing::new("wrong".into()))),
        ..target()
    });
    for _ in 0..3 {
        bed.tend();
        let far = bed.bench.last();
        far.sends("-WRONGPASS invalid\r\n");
        bed.arrived();
        assert!(far.is_closed() && !bed.node.is_open());
        bed.now += 10_000;
    }
    assert_eq!(bed.bench.made.len(), 3);
    assert_eq!(bed.log(), ["n down: AUTH was refused: Denied"]);
    assert_eq!(bed.heard(), [""; 0]);
}

#[test]
fn a_replica_is_no_node() {
    let mut bed = bed(target());
    bed.tend();
    let far = bed.bench.last();
    far.sends([NEW, &info("1", "slave")].concat());
    bed.arrived();
    assert!(far.is_closed());
    assert_eq!(bed.log(), ["n down: the node is a replica"]);
}

#[test]
fn what_was_under_way_on_a_broken_connection_is_broken_in_order() {
    let mut bed = bed(target());
    let far = bed.open(NEW, "1");
    bed.heard();
    (1..=3).for_each(|name| assert!(bed.send(name)));
    far.sends("+PONG\r\n$4\r\nPO");
    far.ends();
    bed.arrived();
    assert_eq!(
        bed.heard(),
        ["1: Bytes([80, 79, 78, 71])", "2 broken", "3 broken"]
    );
    assert_eq!(bed.log(), ["n down: unexpected end of file"]);
    assert_eq!(bed.state(), NodeState::Down);
    bed.now += 10_000;
    bed.open(NEW, "1");
    assert_eq!(bed.log(), ["n up"]);
}

#[test]
fn it_is_connected_to_ever_more_seldom() {
    let mut bed = bed(target());
    bed.bench.unreachable = true;
    bed.tend();
    assert_eq!(bed.log(), ["n down: network unreachable"]);
    bed.bench.unreachable = false;
    let mut pauses = vec![];
    let mut since = bed.now;
    while pauses.len() < 9 {
        bed.wait(1);
        if let Some(far) = bed.bench.made.pop() {
            pauses.push(bed.now - since);
            far.refuses();
            since = bed.now;
            bed.arrived();
        }
    }
    let rising = pauses
        .windows(2)
        .all(|pair| pair[0] <= pair[1] + pair[1] / 4);
    assert!(
        rising && pauses[0] >= 100 && pauses[8] >= 5_000,
        "{pauses:?}"
    );
    assert!(pauses[8] <= 6_250, "{pauses:?}");
    assert_eq!(bed.log(), [""; 0]);
}

#[test]
fn another_reason_for_being_down_is_logged_after_a_minute() {
    let mut bed = bed(target());
    bed.bench.unreachable = true;
    bed.tend();
    assert_eq!(bed.log(), ["n down: network unreachable"]);
    bed.wait(70_000);
    assert_eq!(bed.log(), [""; 0]);
    bed.bench.unreachable = false;
    for logged in [&["n down: connection refused"][..], &[]] {
        bed.wait(10_000);
        bed.bench.last().refuses();
        bed.arrived();
        assert_eq!(bed.log(), logged);
    }
}

#[test]
fn a_connection_that_is_not_made_in_time_is_given_up() {
    let mut bed = bed(target());
    bed.tend();
    let far = bed.bench.last();
    far.hesitates();
    bed.wait(2_000);
    assert!(!far.is_closed());
    bed.wait(1);
    assert!(far.is_closed());
    assert_eq!(bed.log(), ["n down: no connection in time"]);
}

#[test]
fn one_that_answers_nothing_any_more_is_given_up() {
    let mut bed = bed(target());
    let far = bed.open(NEW, "1");
    bed.heard();
    bed.send(1);
    bed.wait(5_000);
    bed.wait(50);
    assert!(bed.node.is_open());
    // At the first call, the reply could have arrived while this process was stopped.
    bed.wait(50);
    assert!(far.is_closed());
    assert_eq!(bed.heard(), ["1 broken"]);
    assert_eq!(bed.log(), ["n down: no answer"]);
}

#[test]
fn a_suspect_is_probed_and_votes_again_when_it_answers() {
    let mut bed = bed(target());
    let far = bed.open(NEW, "1");
    assert_eq!(bed.state(), NodeState::Up);
    bed.arrived();
    far.received();
    bed.node.timed_out(bed.now, 0);
    assert_eq!(bed.state(), NodeState::Up);
    bed.node.timed_out(bed.now, 0);
    assert_eq!(bed.state(), NodeState::Suspect);
    assert!(!bed.node.votes(POOL, bed.now) && bed.node.may_vote(POOL, bed.now));
    bed.wait(199);
    assert_eq!(far.received(), "");
    bed.wait(1);
    assert_eq!(far.received(), "*1\r\n$4\r\nPING\r\n");
    // After the timeout, so the reply does not count.
    bed.now += 51;
    far.sends("+PONG\r\n");
    bed.arrived();
    assert_eq!(bed.state(), NodeState::Suspect);
    bed.wait(500);
    assert_eq!(far.received(), "*1\r\n$4\r\nPING\r\n");
    far.sends("+PONG\r\n");
    bed.arrived();
    assert_eq!(bed.state(), NodeState::Up);
    assert_eq!(bed.node.report(POOL, bed.now).counts.timeouts, 2);
}

#[test]
fn one_that_answers_errors_is_tried_again_and_does_not_vote() {
    let mut bed = bed(target());
    let far = bed.open(NEW, "1");
    bed.heard();
    bed.send(1);
    far.sends("-OOM no memory\r\n");
    bed.arrived();
    assert_eq!(bed.heard(), ["1: Error(OutOfMemory)"]);
    far.received();
    bed.wait(100);
    assert_eq!(far.received(), TRIAL);
    far.sends("-OOM no memory\r\n+OK\r\n");
    bed.arrived();
    let report = bed.node.report(POOL, bed.now);
    assert_eq!(report.state, NodeState::Failing);
    assert_eq!(report.refuses, Some(ErrorKind::OutOfMemory));
    assert!(!bed.node.votes(POOL, bed.now));
    bed.wait(500);
    assert_eq!(far.received(), TRIAL);
    far.sends("+OK\r\n+OK\r\n");
    bed.arrived();
    assert_eq!(bed.state(), NodeState::Up);
    assert_eq!(bed.log(), ["n failing: OOM", "n voting"]);
    assert_eq!(bed.heard(), [""; 0]);
}

#[test]
fn messages_are_told_and_an_old_server_sends_none() {
    let mut new = bed(target());
    let far = new.open(NEW, "1");
    new.heard();
    assert!(new.node.sends_messages());
    far.sends(">3\r\n$7\r\nmessage\r\n$5\r\nwakes\r\n$2\r\nhi\r\n");
    far.sends(">3\r\n$7\r\npmessag\r\n$5\r\nwakes\r\n$2\r\nhi\r\n");
    new.arrived();
    assert_eq!(new.heard(), ["wakes: hi"]);

    let mut old = bed(target());
    let far = old.open(OLD, "1");
    assert!(!old.node.sends_messages());
    assert!(!far.received().contains("SUBSCRIBE"));
}

#[test]
fn one_that_may_not_subscribe_sends_no_messages() {
    let mut bed = bed(target());
    bed.tend();
    let far = bed.bench.last();
    far.sends([NEW, &info("1", "master"), &loaded()].concat());
    far.sends("-NOPERM no channels\r\n-NOPERM no channels\r\n+OK\r\n+OK\r\n");
    bed.arrived();
    assert!(bed.node.is_open() && !bed.node.sends_messages());
}

#[test]
fn one_that_came_back_is_in_quarantine() {
    let mut bed = bed(target());
    let far = bed.open(NEW, "1");
    assert_eq!(bed.state(), NodeState::Up);
    far.fails(io::ErrorKind::ConnectionReset);
    bed.arrived();
    bed.now += 10_000;
    let far = bed.open(NEW, "1");
    assert_eq!(bed.state(), NodeState::Up, "the same process remembers");
    far.fails(io::ErrorKind::ConnectionReset);
    bed.arrived();
    bed.now += 10_000;
    bed.tend();
    let far = bed.bench.last();
    let young = info("2", "master").replace("1000", "0000");
    far.sends([NEW, &young, &loaded()].concat());
    bed.arrived();
    assert_eq!(bed.state(), NodeState::Quarantined);
    bed.now += 2_000;
    assert_eq!(bed.state(), NodeState::Up);
}

#[test]
fn a_pool_whose_guard_has_not_been_seen_gets_no_votes() {
    let mut bed = bed(target());
    bed.open(NEW, "1");
    assert!(!bed.node.votes("another", bed.now));
    bed.node.in_quarantine(POOL, bed.now + 300);
    assert_eq!(bed.state(), NodeState::Quarantined);
    assert!(bed.node.is_confined(POOL, bed.now));
    bed.now += 300;
    assert_eq!(bed.state(), NodeState::Up);
}

#[test]
fn round_trips_are_smoothed() {
    let mut bed = bed(target());
    let far = bed.open(NEW, "1");
    let before = bed.node.report(POOL, bed.now).round_trip_us.unwrap();
    bed.send(1);
    bed.now += 8;
    far.sends("+PONG\r\n");
    bed.arrived();
    let after = bed.node.report(POOL, bed.now).round_trip_us.unwrap();
    assert_eq!(after, before - before / 8 + 1_000);
}

#[test]
fn one_whose_clock_was_set_forward_is_in_quarantine() {
    let mut bed = bed(target());
    bed.open(NEW, "1");
    let read = |bed: &mut Bed, node_ms| {
        bed.bench.now_us = bed.now * 1_000;
        bed.node
            .read_clock(node_ms, bed.bench.now_us, bed.now, &mut bed.bench);
    };
    read(&mut bed, 5_000_000);
    bed.now += 100;
    read(&mut bed, 5_000_101);
    assert_eq!(bed.state(), NodeState::Up);
    bed.now += 100;
    read(&mut bed, 5_060_200);
    assert_eq!(bed.state(), NodeState::Quarantined);
    assert_eq!(bed.log(), ["n clock: 59997"]);
    assert!(!bed.node.is_trusted(bed.now + 999));
    bed.now += 1_000;
    read(&mut bed, 5_061_200);
    assert_eq!(bed.state(), NodeState::Up);
}

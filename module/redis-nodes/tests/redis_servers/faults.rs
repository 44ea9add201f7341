//! Nodes that are killed, restart without data, answer with errors, lose scripts or are stopped.

use redis_nodes::{GroupEvent, NodeState};

use crate::server::Server;
use crate::worker::{NODE_TIMEOUT, QUARANTINE, Worker, run};

fn log(worker: &Worker) -> Vec<String> {
    worker.log.borrow().clone()
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn a_killed_node_is_done_without_and_a_majority_is_not() {
    run(async {
        for nodes in [3, 5] {
            let mut servers = Server::start_all(nodes);
            let mut here = Worker::start("here", &servers).await;
            let spare = nodes / 2;
            for (node, server) in servers.iter_mut().enumerate().take(spare) {
                server.kill();
                here.until_state(node, NodeState::Down).await;
                let (lock, votes) = here.lock(0).await;
                assert!(usize::from(votes) > nodes / 2);
                here.unlock(0, lock).await;
            }
            servers[spare].kill();
            here.until_state(spare, NodeState::Down).await;
            let outcome = here.try_lock(&[0], false).await;
            assert!(matches!(outcome, GroupEvent::Unavailable { .. }));
            assert_eq!(here.group.counts.no_quorum, 1);
            let down: Vec<_> = (0..=spare)
                .map(|node| format!("node {node} down"))
                .collect();
            assert_eq!(log(&here), down);
        }
    });
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn a_connection_that_breaks_while_it_is_asked_is_a_vote_less() {
    run(async {
        let mut servers = Server::start_all(3);
        let mut here = Worker::start("here", &servers).await;
        let (mut locked, mut failed) = (0, 0);
        for _ in 0..20 {
            servers[2].stop();
            let handle = here.ask(&[0], false);
            servers[2].restart();
            let decided = |outcome: &GroupEvent| match outcome {
                GroupEvent::Locked { handle: of, .. } | GroupEvent::Busy { handle: of, .. } => {
                    *of == handle
                }
                _ => false,
            };
            match here.outcome("an attempt is decided", decided).await {
                GroupEvent::Locked { lock, .. } => {
                    locked += 1;
                    here.unlock(0, lock).await;
                }
                _ => failed += 1,
            }
        }
        assert_eq!((locked, failed), (20, 0));
        here.until_up(3).await;
    });
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn a_lock_that_is_given_back_while_a_node_is_not_connected_ends_there_as_well() {
    run(async {
        let servers = Server::start_all(3);
        let mut here = Worker::start("here", &servers).await;
        let (first, _) = here.lock(0).await;
        let (second, _) = here.lock(1).await;
        let keys = [0, 1].map(|slot| here.names.lock(&here.slot(slot).slot));
        let held = || {
            let exist = |key| servers[0].ask(&["EXISTS", key]);
            keys.iter()
                .map(String::as_str)
                .map(exist)
                .collect::<Vec<_>>()
        };
        here.until("node 0 has both locks", |_| held() == [":1", ":1"])
            .await;
        // The command is sent on a connection that the node has closed.
        servers[0].ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        here.unlock(0, first).await;
        here.until_state(0, NodeState::Down).await;
        assert_eq!(held(), [":1", ":1"]);
        // The command cannot be sent.
        here.unlock(1, second).await;
        here.until_up(3).await;
        here.until("node 0 has no lock", |_| held() == [":0", ":0"])
            .await;
    });
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn a_node_that_comes_back_empty_does_not_vote_for_the_quarantine() {
    run(async {
        let mut servers = Server::start_all(3);
        let mut here = Worker::start("here", &servers).await;
        let (lock, _) = here.lock(0).await;
        servers[0].restart();
        here.until_state(0, NodeState::Quarantined).await;
        let began = here.now();
        // Stop one of the two nodes that have data: a majority would have to include the empty
        // node.
        servers[1].kill();
        here.until_state(1, NodeState::Down).await;
        let outcome = here.try_lock(&[1], true).await;
        assert!(!matches!(outcome, GroupEvent::Locked { .. }), "{outcome:?}");
        servers[1].restart();
        here.unlock(0, lock).await;
        here.until_up(3).await;
        assert!(here.now() - began + 100 >= QUARANTINE);
        here.lock(1).await;
        let log = log(&here);
        assert_eq!(
            log,
            ["node 0 down", "node 0 up", "node 1 down", "node 1 up"]
        );
    });
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn a_node_that_answers_errors_does_not_vote_until_it_obeys() {
    run(async {
        let servers = Server::start_all(3);
        let mut here = Worker::start("here", &servers).await;
        servers[2].ask(&["CONFIG", "SET", "maxmemory", "1"]);
        // The first attempt notices the error, and succeeds without the node.
        let (lock, votes) = here.lock(0).await;
        assert_eq!(votes, 2);
        here.until_state(2, NodeState::Failing).await;
        let (other, votes) = here.lock(1).await;
        assert_eq!(votes, 2);
        here.unlock(0, lock).await;
        here.unlock(1, other).await;
        servers[2].ask(&["CONFIG", "SET", "maxmemory", "0"]);
        here.until_state(2, NodeState::Up).await;
        assert_eq!(log(&here), ["node 2 failing", "node 2 voting"]);
        here.lock(0).await;
    });
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn nodes_that_have_forgotten_the_scripts_are_sent_them() {
    run(async {
        let servers = Server::start_all(3);
        let mut here = Worker::start("here", &servers).await;
        let forget = || {
            for server in &servers {
                assert_eq!(server.ask(&["SCRIPT", "FLUSH"]), "+OK");
            }
        };
        forget();
        let outcome = here.try_lock(&[0], true).await;
        let GroupEvent::Locked { lock, .. } = outcome else {
            panic!("not locked: {outcome:?}");
        };
        forget();
        here.unlock(0, lock).await;
        let key = here.names.lock(&here.slot(0).slot);
        here.until("none has it", |_| {
            servers
                .iter()
                .all(|server| server.ask(&["EXISTS", &key]) == ":0")
        })
        .await;
        assert_eq!(here.states(), [NodeState::Up; 3]);
        assert_eq!(log(&here), [""; 0]);
    });
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn a_silent_node_is_waited_for_twice_and_a_silent_majority_is_an_outage() {
    run(async {
        for nodes in [3, 5] {
            let servers = Server::start_all(nodes);
            let mut here = Worker::start("here", &servers).await;
            servers[0].stop();
            let (lock, _) = here.lock(0).await;
            here.unlock(0, lock).await;
            // The node is asked until it has not answered twice.
            while here.states()[0] == NodeState::Up {
                let (lock, _) = here.lock(0).await;
                here.unlock(0, lock).await;
                here.run_for(NODE_TIMEOUT).await;
            }
            assert_eq!(here.states()[0], NodeState::Suspect);
            for server in &servers[1..=nodes / 2] {
                server.stop();
            }
            let began = here.now();
            let outcome = here.try_lock(&[1], false).await;
            assert!(
                matches!(outcome, GroupEvent::Unavailable { .. }),
                "{outcome:?}"
            );
            let took = here.now() - began;
            assert!((NODE_TIMEOUT..10 * NODE_TIMEOUT).contains(&took), "{took}");
            servers.iter().for_each(Server::go_on);
            here.until_up(nodes).await;
            here.lock(1).await;
        }
    });
}

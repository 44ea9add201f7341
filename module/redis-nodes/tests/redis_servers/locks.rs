//! Locks of groups of three and five nodes that all work.

use openai_core::lease::Lock;
use redis_nodes::{GroupEvent, Kept, Operation};

use crate::server::Server;
use crate::worker::{TTL, Worker, run};

fn lock_key(worker: &Worker, slot: usize) -> String {
    worker.names.lock(&worker.slot(slot).slot)
}

/// The number of servers on which the slot is locked.
fn count(servers: &[Server], key: &str) -> usize {
    let has = |server: &&Server| server.ask(&["EXISTS", key]) == ":1";
    servers.iter().filter(has).count()
}

async fn taken_once_and_given_back(nodes: usize) {
    let servers = Server::start_all(nodes);
    let mut here = Worker::start("here", &servers).await;
    let mut there = Worker::start("there", &servers).await;
    let key = lock_key(&here, 0);

    let (first, votes) = here.lock(0).await;
    assert!(usize::from(votes) > nodes / 2);
    here.until("all have it", |_| count(&servers, &key) == nodes)
        .await;
    for by_script in [false, true] {
        let refused = there.try_lock(&[0], by_script).await;
        assert!(matches!(refused, GroupEvent::Busy { .. }), "{refused:?}");
    }
    let other = there.try_lock(&[0, 1], true).await;
    let GroupEvent::Locked { choice: 1, .. } = other else {
        panic!("the other slot is free: {other:?}");
    };

    assert!(!here.unlock(0, first).await);
    here.until("none has it", |_| count(&servers, &key) == 0)
        .await;
    let (second, _) = there.lock(0).await;
    assert!(second.fence > first.fence);
    assert!(here.group.is_heard(&first));
    let counts = (here.group.counts, there.group.counts);
    assert_eq!((counts.0.locked, counts.1.locked), (1, 2));
    assert!(counts.1.busy >= 2);
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn an_attempt_waits_for_connections_that_are_being_made() {
    run(async {
        let servers = Server::start_all(3);
        let mut here = Worker::begin("here", &servers);
        let (now, mut done) = (here.now(), vec![]);
        here.group.tend(now, &mut done);
        let handle = here.ask(&[0], false);
        let first = |outcome: &GroupEvent| !matches!(outcome, GroupEvent::Opened { .. });
        let outcome = here.outcome("an attempt is decided", first).await;
        assert!(
            matches!(outcome, GroupEvent::Locked { handle: of, .. } if of == handle),
            "{outcome:?}"
        );
    });
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn a_lock_is_one_machines_until_it_gives_it_back() {
    run(async {
        for nodes in [1, 3, 5] {
            taken_once_and_given_back(nodes).await;
        }
    });
}

async fn prolong(worker: &mut Worker, slot: usize, lock: Lock) -> Option<u64> {
    let handle = worker.handle();
    let locks = [(handle, worker.slot(slot).slot.clone(), lock)];
    let (now, mut done) = (worker.now(), vec![]);
    let names = worker.names.clone();
    worker.group.prolong(&names, TTL, &locks, now, &mut done);
    worker.settle(done);
    let told = |outcome: &GroupEvent| match outcome {
        GroupEvent::Prolonged { handle: of, .. } | GroupEvent::Lost { handle: of, .. } => {
            *of == handle
        }
        _ => false,
    };
    match worker.outcome("a renewal is decided", told).await {
        GroupEvent::Prolonged { deadline_ms, .. } => Some(deadline_ms),
        _ => None,
    }
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn a_lock_is_prolonged_and_restored_and_lost() {
    run(async {
        for nodes in [3, 5] {
            let servers = Server::start_all(nodes);
            let mut here = Worker::start("here", &servers).await;
            let key = lock_key(&here, 0);
            let (lock, _) = here.lock(0).await;
            here.run_for(50).await;
            let later = prolong(&mut here, 0, lock).await;
            assert!(later > Some(lock.deadline_ms));

            // A renewal restores the lock on a node that has lost it.
            servers[0].ask(&["DEL", &key]);
            assert!(prolong(&mut here, 0, lock).await >= later);
            here.until("all have it", |_| count(&servers, &key) == nodes)
                .await;

            // A majority of nodes has a lock of another owner.
            for server in &servers[..=nodes / 2] {
                server.ask(&["SET", &key, "other\n1\n\n\n", "PX", "30000"]);
            }
            assert_eq!(prolong(&mut here, 0, lock).await, None);
        }
    });
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn a_late_renewal_does_not_put_back_what_another_worker_has_given_back() {
    run(async {
        // Without `may_be_extended`, the release does not keep the late renewal from restoring the lock.
        for (may_be_extended, put_back) in [(true, 0), (false, 3)] {
            let servers = Server::start_all(3);
            let mut one = Worker::start("here", &servers).await;
            let mut two = Worker::start("here", &servers).await;
            let keys = [lock_key(&one, 0), lock_key(&one, 1)];
            let (lock, _) = one.lock(0).await;
            one.until("all have it", |_| count(&servers, &keys[0]) == 3)
                .await;
            let locks = [(one.handle(), one.slot(0).slot.clone(), lock)];
            let (now, names, mut done) = (one.now(), one.names.clone(), vec![]);
            one.group.prolong(&names, TTL, &locks, now, &mut done);
            // The renewal has not been sent yet when the other worker releases the lock.
            two.give_back(0, lock, may_be_extended).await;
            two.until("none has it", |_| count(&servers, &keys[0]) == 0)
                .await;
            one.settle(done);
            // A node receives the next lock after the renewal.
            one.lock(1).await;
            one.until("all have the next one", |_| count(&servers, &keys[1]) == 3)
                .await;
            assert_eq!(count(&servers, &keys[0]), put_back);
        }
    });
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn an_operation_is_concluded_by_what_nodes_answer() {
    run(async {
        let servers = Server::start_all(3);
        let mut here = Worker::start("here", &servers).await;
        let (lock, _) = here.lock(0).await;
        let operation = Operation::default();
        let (now, mut done) = (here.now(), vec![]);
        let (names, slot) = (here.names.clone(), here.slot(0));
        let lock_of = (&slot.slot, &lock);
        let valid = 2 * TTL;
        here.group
            .keep_for(&names, valid, lock_of, operation, now, &mut done);
        here.settle(done);
        let concluded = |outcome: &GroupEvent| matches!(outcome, GroupEvent::Concluded { .. });
        let outcome = here.outcome("an operation is concluded", concluded).await;
        let GroupEvent::Concluded {
            kept: Kept::Until(deadline_ms),
            ..
        } = outcome
        else {
            panic!("not kept: {outcome:?}");
        };
        assert!(deadline_ms >= now + valid);
    });
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn an_attempt_that_waits_for_connections_is_abandoned_at_once() {
    run(async {
        let servers = Server::start_all(3);
        let mut here = Worker::begin("here", &servers);
        let (now, mut done) = (here.now(), vec![]);
        here.group.tend(now, &mut done);
        let wanted = here.ask(&[0], false);
        here.group.abandon(wanted, now, &mut done);
        assert!(
            matches!(done[..], [GroupEvent::Abandoned { handle }] if handle == wanted),
            "{done:?}"
        );
        here.until_up(3).await;
        assert_eq!(count(&servers, &lock_key(&here, 0)), 0);
        here.lock(0).await;
    });
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn an_abandoned_attempt_leaves_no_lock() {
    run(async {
        let servers = Server::start_all(3);
        let mut here = Worker::start("here", &servers).await;
        let key = lock_key(&here, 0);
        let handle = here.ask(&[0], false);
        let (now, mut done) = (here.now(), vec![]);
        here.group.abandon(handle, now, &mut done);
        here.settle(done);
        let abandoned = |outcome: &GroupEvent| matches!(outcome, GroupEvent::Abandoned { .. });
        here.outcome("an attempt is abandoned", abandoned).await;
        let fences = here.names.fences();
        here.until("all nodes were asked, and none has it", |_| {
            count(&servers, &fences) == 3 && count(&servers, &key) == 0
        })
        .await;
        here.lock(0).await;
    });
}

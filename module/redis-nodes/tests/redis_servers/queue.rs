//! The queue of all machines.

use redis_nodes::GroupEvent;

use crate::server::Server;
use crate::worker::{Worker, run};

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn who_waits_is_told_of_a_slot_that_another_machine_gives_up() {
    run(async {
        for nodes in [3, 5] {
            let servers = Server::start_all(nodes);
            let mut here = Worker::start("here", &servers).await;
            let mut there = Worker::start("there", &servers).await;
            let (lock, _) = here.lock(0).await;

            let busy = there.try_lock(&[0], true).await;
            assert!(matches!(busy, GroupEvent::Busy { .. }));
            let (names, now) = (there.names.clone(), there.now());
            there.group.join(&names, 0, now);
            there.settle(vec![]);
            let queue = names.queue();
            there
                .until("it is in the queue of all", |_| {
                    let size = |server: &Server| server.ask(&["ZCARD", &queue]);
                    servers.iter().all(|server| size(server) == ":1")
                })
                .await;

            assert!(here.unlock(0, lock).await, "a waiter was told");
            let freed = |outcome: &GroupEvent| matches!(outcome, GroupEvent::Freed { .. });
            let freed = there.outcome("word of a free slot", freed).await;
            let GroupEvent::Freed { field, .. } = freed else {
                panic!("{freed:?}");
            };
            assert_eq!(field, there.slot(0).slot.field());
            there.lock(0).await;

            there.group.unqueue(&names);
            there.settle(vec![]);
            there
                .until("it is in no queue", |_| {
                    let size = |server: &Server| server.ask(&["ZCARD", &queue]);
                    servers.iter().all(|server| size(server) == ":0")
                })
                .await;
        }
    });
}

#[test]
#[ignore = "needs redis-server; see main.rs"]
fn machines_know_of_one_another_while_both_wait() {
    run(async {
        let servers = Server::start_all(3);
        let mut here = Worker::start("here", &servers).await;
        let mut there = Worker::start("there", &servers).await;
        let names = here.names.clone();
        for worker in [&mut here, &mut there] {
            let now = worker.now();
            worker.group.join(&names, 0, now);
            worker.settle(vec![]);
            worker.run_for(100).await;
        }
        assert!(there.group.is_crowded(&names));
        assert!(!here.group.is_crowded(&names), "it came first");
        // Its entry is renewed.
        here.run_for(600).await;
        let now = here.now();
        here.group.join(&names, 0, now);
        here.settle(vec![]);
        here.until("it knows of the other", |worker| {
            worker.group.is_crowded(&names)
        })
        .await;
    });
}

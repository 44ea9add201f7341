//! Reloads and shutdowns while requests wait for the nodes.

use std::time::Duration;

use e2e::{Link, Plan, RawUpstream, Redis, Way};

use super::{group, on_group, plan_with, wait_states};
use crate::reload::{end, stream};

fn with_slots(plan: Plan, slots: usize) -> Plan {
    let pool = format!("key sk-e2e-main-0001 id=main slots={slots}; store locks; wait 10s;");
    plan.pool("main", &pool)
}

/// The nodes know a slot by the id of its key and its number, which need not be that of a slot that
/// the worker's configuration has.
#[test]
fn a_waiter_of_an_older_configuration_gets_a_slot_that_is_new() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let plan = on_group(&group(&nodes, "bootstrap on;")).upstream(upstream.address());
    let mut gateway = with_slots(plan, 1).start();
    wait_states(&gateway, "up,up,up");
    let running = stream(&gateway, &upstream);
    let waiting = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    gateway.reload(|plan| with_slots(plan, 2));
    let mut served = upstream.accept();
    served.answer();
    waiting.join().expect("an answer").expect_status(200);
    end(running);
}

#[test]
fn a_worker_that_shuts_down_waits_for_the_nodes() {
    let nodes = Redis::group(3);
    let links: Vec<_> = nodes.iter().map(|node| Link::to(node.port())).collect();
    let urls: String = links
        .iter()
        .map(|link| format!("node redis://127.0.0.1:{}; ", link.port()))
        .collect();
    let more = format!("{urls} node_timeout 10s;");
    let mut gateway = plan_with(&[], &more, "wait 0;").start();
    wait_states(&gateway, "up,up,up");
    for link in &links {
        link.set(Way::Late(Duration::from_secs(1)), Way::Open);
    }
    let client = gateway.chat().spawn();
    gateway.wait_held(1, 0);
    gateway.reload(|plan| plan);
    client.join().expect("an answer").expect_status(200);
}

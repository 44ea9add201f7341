//! Pools whose slots are exclusive on all machines that share a group of Redis servers.

mod clocks;
mod connections;
mod cool_downs;
mod distant;
mod failing;
mod faults;
mod garbage;
mod hand_over;
mod key_watch;
mod lifetimes;
mod locks;
mod machines;
mod misconfigured;
mod names;
mod nemesis;
mod other_clients;
mod quorum;
mod reloads;
mod retained;
mod shared_stats;
mod start;
mod tls;
mod tls_faults;
mod witness;

use e2e::{Gateway, Plan, Redis, wait_until};

/// The lock of the only slot of the key `main`.
const LOCK: &str = "{main}:l:main:0";

/// The configuration of a group of these servers, which a busy machine does not make suspect.
fn group(nodes: &[Redis], more: &str) -> String {
    let patience = if more.contains("node_timeout") {
        ""
    } else {
        "node_timeout 2s;"
    };
    let nodes: String = nodes
        .iter()
        .map(|redis| format!("node {}; ", redis.url()))
        .collect();
    format!("openai_redlock locks {{ {nodes} {patience} {more} }}")
}

/// A plan whose pool `main` has the key `main`, and whose servers are to be trusted at first sight.
fn plan(nodes: &[Redis]) -> Plan {
    plan_with(nodes, "", "")
}

/// The same, with more in the group and in the pool.
fn plan_with(nodes: &[Redis], in_group: &str, in_pool: &str) -> Plan {
    let pool = format!("key sk-e2e-main-0001 id=main; store locks; {in_pool}");
    on_group(&group(nodes, &format!("bootstrap on; {in_group}"))).pool("main", &pool)
}

fn on_group(group: &str) -> Plan {
    Plan::new().http(group).server(
        "location = /nodes { openai main; openai_auth off; access_log off; \
         return 200 $openai_pool_nodes; }\n\
         location = /locks { openai main; openai_auth off; access_log off; \
         return 200 $openai_pool_locks; }",
    )
}

/// How the nodes do, as a worker sees it.
#[track_caller]
fn states(gateway: &Gateway) -> String {
    gateway
        .get("/nodes")
        .send()
        .expect_status(200)
        .text()
        .to_owned()
}

/// What a worker knows of the group.
#[track_caller]
fn status(gateway: &Gateway) -> serde_json::Value {
    gateway.get("/locks").send().expect_status(200).json()
}

#[track_caller]
fn wait_states(gateway: &Gateway, wanted: &str) {
    wait_until(&format!("the nodes are {wanted}"), || {
        states(gateway) == wanted
    });
}

/// How many of the servers have this key.
#[track_caller]
fn holders(nodes: &[Redis], key: &str) -> i64 {
    nodes
        .iter()
        .map(|redis| redis.number(&format!("EXISTS {key}")))
        .sum()
}

/// Waits until no server has this key. A slot is free as soon as the gateway has asked the servers
/// to delete its lock, and the last of them may do so later.
#[track_caller]
fn wait_gone(nodes: &[Redis], key: &str) {
    wait_until(&format!("{key} is gone from all nodes"), || {
        holders(nodes, key) == 0
    });
}

fn number(text: &str) -> u64 {
    text.parse()
        .unwrap_or_else(|_| panic!("no number: {text:?}"))
}

//! What becomes of locks when workers stop, end, or get another configuration.

use std::time::{Duration, Instant};

use e2e::{Gateway, Load, Outcome, RawUpstream, Redis, post, stream_once, wait_until};

use super::{LOCK, holders, plan_with, wait_states};
use crate::reload;

fn start(nodes: &[Redis], in_group: &str, in_pool: &str) -> (Gateway, RawUpstream) {
    let upstream = RawUpstream::bind();
    let gateway = plan_with(nodes, in_group, in_pool)
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, &vec!["up"; nodes.len()].join(","));
    (gateway, upstream)
}

/// More than fit into one call of a script.
#[test]
fn three_hundred_streams_keep_their_locks() {
    let nodes = Redis::group(3);
    let gateway = plan_with(&nodes, "", "")
        .pool(
            "main",
            "key sk-e2e-many id=many slots=300; store locks; lease_ttl 900ms;",
        )
        .start();
    wait_states(&gateway, "up,up,up");
    let port = gateway.port();
    let load = Load::start(300, 300, move || {
        let head = "Content-Type: application/json\r\nX-Mock-Delay: 1s\r\n";
        let request = post(head, r#"{"model":"gpt-4o","stream":true}"#);
        move |_| stream_once(port, &request)
    });
    gateway.wait_held(300, 0);
    assert_eq!(load.finish(), [(Outcome::Complete, 300)].into());
    gateway.wait_held(0, 0);
    wait_until("every lock is given back", || {
        nodes.iter().all(|redis| redis.ask("KEYS *:l:*").is_empty())
    });
}

/// While it stood still, its lock has ended: the slot is another's, and it must not go on.
#[test]
fn a_worker_that_was_stopped_for_longer_than_the_ttl_ends_its_stream() {
    let nodes = Redis::group(3);
    let (mut gateway, upstream) = start(&nodes, "", "lease_ttl 600ms;");
    let (mut events, mut exchange) = reload::stream(&gateway, &upstream);
    let worker = gateway.nginx().worker_pids()[0];
    gateway.nginx().stop_worker(worker);
    wait_until("the lock has ended", || holders(&nodes, LOCK) == 0);
    for redis in &nodes {
        redis.ask(&format!("SET {LOCK} somebody-else NX PX 60000"));
    }
    exchange.event("too late");
    gateway.nginx().resume_worker(worker);
    let since = Instant::now();
    let rest: Vec<_> = events.by_ref().collect();
    assert!(since.elapsed() < Duration::from_millis(500), "{rest:?}");
    let error = rest.last().expect("an error at the end");
    assert!(error.contains("\"lease_lost\""), "{rest:?}");
    exchange.wait_closed();
    for redis in &nodes {
        assert_eq!(redis.ask(&format!("GET {LOCK}")), "somebody-else");
        redis.ask("FLUSHALL");
    }
}

//! What becomes of locks when workers stop, end, or get another configuration.

use std::time::{Duration, Instant};

use e2e::{
    Gateway, Link, Load, LoadOutcome, Plan, RawUpstream, Redis, Way, patience, post, stream_once,
    wait_until,
};
use rustix::process::Signal;

use super::{LOCK, group, holders, on_group, plan_with, states, wait_gone, wait_states};
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
            "key sk-e2e-many id=many slots=300; store locks; lease_ttl 2s;",
        )
        .start();
    wait_states(&gateway, "up,up,up");
    let port = gateway.port();
    let load = Load::start(300, 300, move || {
        // All have begun before the first one ends.
        let head = "Content-Type: application/json\r\nX-Mock-Delay: 1s\r\nX-Mock-Words: 9\r\n";
        let request = post(head, r#"{"model":"gpt-4o","stream":true}"#);
        move |_| stream_once(port, &request)
    });
    gateway.wait_held(300, 0);
    assert_eq!(load.finish(), [(LoadOutcome::Complete, 300)].into());
    gateway.wait_held(0, 0);
    wait_until("every lock is given back", || {
        nodes.iter().all(|redis| redis.ask("KEYS *:l:*").is_empty())
    });
}

/// While it stood still, its lock has ended: the slot is another's, and it must not go on.
#[test]
fn a_worker_that_was_stopped_for_longer_than_the_ttl_ends_its_stream() {
    let nodes = Redis::group(3);
    let (mut gateway, upstream) = start(&nodes, "", "lease_ttl 2s;");
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
    assert!(since.elapsed() < patience(), "{rest:?}");
    let error = rest.last().expect("an error at the end");
    assert!(error.contains("\"lease_lost\""), "{rest:?}");
    exchange.wait_closed();
    for redis in &nodes {
        assert_eq!(redis.ask(&format!("GET {LOCK}")), "somebody-else");
        redis.ask("FLUSHALL");
    }
}

/// A reply to a renewal arrives after the lock would have ended, had later ones not extended it.
#[test]
fn a_late_reply_to_a_renewal_does_not_end_a_lease_that_was_renewed_since() {
    // Less than a connection may owe a reply.
    const TTL_MS: i64 = 4_000;
    let [first, second, third] = [(); 3].map(|()| Redis::start());
    let link = Link::to(third.port());
    let upstream = RawUpstream::bind();
    let urls: String = [first.port(), second.port(), link.port()]
        .map(|port| format!("node redis://127.0.0.1:{port}; "))
        .concat();
    let gateway = plan_with(
        &[],
        &format!("{urls} renew 500ms;"),
        &format!("lease_ttl {TTL_MS}ms;"),
    )
    .upstream(upstream.address())
    .start();
    wait_states(&gateway, "up,up,up");
    let (events, mut exchange) = reload::stream(&gateway, &upstream);
    let mut left = 0;
    let mut wait_renewed = || {
        wait_until("the lock is renewed", || {
            let before = std::mem::replace(&mut left, first.number(&format!("PTTL {LOCK}")));
            left > before
        });
    };
    // The first call finds the lock, the next one sees a renewal.
    wait_renewed();
    wait_renewed();
    link.set(Way::Open, Way::Held);
    second.ask("CONFIG SET min-replicas-to-write 1");
    wait_renewed();
    wait_until("the second node has refused", || {
        second.ask("INFO errorstats").contains("NOREPLICAS")
    });
    second.ask("CONFIG SET min-replicas-to-write 0");
    first.ask(&format!("SET time-is-left 1 PX {TTL_MS}"));
    wait_until("that renewal's lock would have ended", || {
        first.number("EXISTS time-is-left") == 0
    });
    exchange.event("still here");
    link.set(Way::Open, Way::Open);
    wait_states(&gateway, "up,up,up");
    exchange.end_stream();
    let rest: Vec<_> = events.collect();
    assert_eq!(rest.last().map(String::as_str), Some("[DONE]"), "{rest:?}");
    gateway.wait_held(0, 0);
}

/// Renewals that the nodes receive after the lock has been lost would restore it there.
#[test]
fn a_lock_that_was_lost_while_nodes_stood_still_is_not_restored() {
    let nodes = Redis::group(3);
    // Less than a connection may owe a reply.
    let (gateway, upstream) = start(&nodes, "renew 500ms;", "lease_ttl 4s;");
    let (events, exchange) = reload::stream(&gateway, &upstream);
    for redis in &nodes {
        redis.pause();
    }
    let rest: Vec<_> = events.collect();
    assert!(
        rest.last()
            .is_some_and(|event| event.contains("lease_lost")),
        "{rest:?}"
    );
    drop(exchange);
    for redis in &nodes {
        redis.resume();
        redis.ask("SET less-than-a-lease 1 PX 3500");
    }
    wait_gone(&nodes, LOCK);
    assert_eq!(holders(&nodes, "less-than-a-lease"), 3);
}

/// An nginx that ends at once gives back what it holds: who comes next need not wait.
#[test]
fn locks_are_released_when_nginx_is_stopped_at_once() {
    let nodes = Redis::group(3);
    let (mut gateway, upstream) = start(&nodes, "", "");
    let (events, mut exchange) = reload::stream(&gateway, &upstream);
    wait_until("every node has the lock", || holders(&nodes, LOCK) == 3);
    gateway.nginx().signal(Signal::TERM);
    exchange.wait_closed();
    wait_until("nginx has ended", || gateway.nginx().has_ended());
    drop(events);
    wait_until("the lock is given back", || holders(&nodes, LOCK) == 0);
}

#[test]
fn a_pool_that_moves_to_the_nodes_and_back_lends_no_slot_twice() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let pool = |store: &str| format!("key sk-e2e-main-0001 id=main; store {store};");
    let mut gateway = on_group(&group(&nodes, "bootstrap on;"))
        .pool("main", &pool("shm"))
        .upstream(upstream.address())
        .start();
    for store in ["locks", "shm", "locks", "shm"] {
        let running = reload::stream(&gateway, &upstream);
        let to = pool(store);
        gateway.reload(|plan: Plan| plan.pool("main", &to));
        let waiting = gateway.chat().spawn();
        gateway.wait_held(1, 1);
        assert!(!upstream.is_called(), "the slot is still held");
        reload::end(running);
        upstream.accept().answer();
        waiting.join().expect("an answer").expect_status(200);
        gateway.wait_held(0, 0);
        wait_until("no lock is left", || holders(&nodes, LOCK) == 0);
    }
}

/// Nodes that have been up for longer than the quarantine have forgotten nothing that still matters.
#[test]
fn new_workers_trust_nodes_that_have_been_up_for_long() {
    let nodes = Redis::group(3);
    for redis in &nodes {
        redis.ask("SET {main}:g 0");
        wait_until("it has been up for long", || redis.age() >= 2);
    }
    let mut gateway = on_group(&group(&nodes, "quarantine 1s;"))
        .pool(
            "main",
            "key sk-e2e-main-0001 id=main; store locks; lease_ttl 1s;",
        )
        .start();
    for _ in 0..3 {
        gateway.chat().send().expect_status(200);
        // A third node may not be connected yet.
        let now = states(&gateway);
        assert!(!now.contains("quarantined"), "{now}");
        gateway.reload(|plan| plan);
    }
}

/// The nodes have not heard of it, and may have forgotten it: that is no matter for the others.
#[test]
fn a_pool_that_is_new_to_the_nodes_does_not_stop_those_that_they_know() {
    let nodes = Redis::group(3);
    for redis in &nodes {
        redis.ask("SET {main}:g 0");
        wait_until("it has been up for long", || redis.age() >= 2);
    }
    let mut gateway = on_group(&group(&nodes, "quarantine 1s;"))
        .pool(
            "main",
            "key sk-e2e-main-0001 id=main; store locks; lease_ttl 1s;",
        )
        .start();
    wait_states(&gateway, "up,up,up");
    gateway.chat().send().expect_status(200);
    gateway.reload(|plan| plan.pool("other", "key sk-e2e-other id=o; store locks; lease_ttl 1s;"));
    let until = Instant::now() + Duration::from_millis(1_300);
    while Instant::now() < until {
        gateway.chat().send().expect_status(200);
    }
}

//! A lock goes from request to request on one machine without a word to the nodes.

use e2e::{RawUpstream, Redis};

use super::{LOCK, number, plan, plan_with, wait_states};

/// The nonces that the lock had during each of so many requests, which all came at once.
#[track_caller]
fn nonces(in_group: &str, requests: usize) -> Vec<String> {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let gateway = plan_with(&nodes, in_group, "")
        .workers(2)
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let mut clients = vec![gateway.chat().spawn()];
    let mut exchange = upstream.accept();
    clients.extend((1..requests).map(|_| gateway.chat().spawn()));
    gateway.wait_held(1, requests - 1);
    let mut nonces = Vec::new();
    for waiting in (0..requests).rev() {
        gateway.wait_held(1, waiting);
        assert!(!upstream.is_called(), "one slot, one request");
        // Those of a minority may be late.
        let mut seen: Vec<_> = nodes
            .iter()
            .map(|redis| redis.ask(&format!("GET {LOCK}")))
            .collect();
        seen.sort();
        nonces.push(seen.swap_remove(1));
        exchange.answer();
        if waiting > 0 {
            exchange = upstream.accept();
        }
    }
    for client in clients {
        client.join().expect("an answer").expect_status(200);
    }
    let lines = gateway.logged(requests);
    let fences: Vec<_> = lines.iter().map(|line| number(&line.fence)).collect();
    assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
    assert!(!nonces.contains(&"nil".to_owned()), "{nonces:?}");
    nonces
}

/// The lengths of the runs of equal nonces.
fn runs(nonces: &[String]) -> Vec<usize> {
    nonces
        .chunk_by(|a, b| a == b)
        .map(<[String]>::len)
        .collect()
}

#[test]
fn those_who_wait_here_take_the_lock_over() {
    assert_eq!(runs(&nonces("", 8)), [8]);
}

#[test]
fn the_lock_is_not_handed_over_when_told_so() {
    assert_eq!(runs(&nonces("hand_over 0;", 4)), [1; 4]);
}

/// Other machines get their turn.
#[test]
fn the_lock_is_handed_over_so_many_times_in_a_row() {
    assert_eq!(runs(&nonces("hand_over 2;", 8)), [3, 3, 2]);
}

/// Another machine's clock was far ahead: what it has left on the nodes is above our clock.
#[test]
fn fences_rise_from_hand_over_to_hand_over_with_a_clock_that_is_behind() {
    let nodes = Redis::group(3);
    for redis in &nodes {
        redis.ask("ZADD {main}:f 5000000000000000 main:0");
    }
    let upstream = RawUpstream::bind();
    let gateway = plan(&nodes).workers(2).upstream(upstream.address()).start();
    wait_states(&gateway, "up,up,up");
    for _ in 0..3 {
        let clients: Vec<_> = (0..4).map(|_| gateway.chat().spawn()).collect();
        let mut exchange = upstream.accept();
        gateway.wait_held(1, 3);
        for _ in 1..4 {
            exchange.answer();
            exchange = upstream.accept();
        }
        exchange.answer();
        for client in clients {
            client.join().expect("an answer").expect_status(200);
        }
    }
    let lines = gateway.logged(12);
    let fences: Vec<_> = lines.iter().map(|line| number(&line.fence)).collect();
    assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
    assert!(fences[0] > 5_000_000_000_000_000, "{fences:?}");
}

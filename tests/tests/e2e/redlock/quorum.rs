//! Too few nodes answer.

use std::thread;
use std::time::{Duration, Instant};

use e2e::{Answer, Gateway, RawUpstream, Redis, Refusal, patience, post, wait_until};

use super::{LOCK, holders, plan_with, wait_states};
use crate::reload;

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    let refusal = Refusal::new(503, "server_error", Some("lock_unavailable"));
    assert_eq!(answer.refusal(), refusal);
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// Refused, and not after the time that a request may wait for a slot.
#[track_caller]
fn assert_refused_at_once(gateway: &Gateway) {
    let since = Instant::now();
    assert_unavailable(&gateway.chat().send());
    let took = since.elapsed();
    assert!(took < patience(), "{took:?}");
}

#[track_caller]
fn wait_healed(gateway: &Gateway) {
    wait_until("requests pass again", || {
        let answer = gateway.chat().send();
        if answer.status != 200 {
            assert_unavailable(&answer);
        }
        answer.status == 200
    });
}

#[test]
fn requests_are_refused_while_a_majority_is_silent() {
    let nodes = Redis::group(3);
    let gateway = plan_with(&nodes, "node_timeout 1s;", "").start();
    wait_states(&gateway, "up,up,up");
    gateway.chat().send().expect_status(200);
    nodes[..2].iter().for_each(Redis::pause);
    for _ in 0..6 {
        assert_refused_at_once(&gateway);
    }
    let line = gateway.logged(7).pop().expect("a line");
    for _ in 0..10 {
        // Gone before it is known that there is no quorum.
        gateway.connect().send(post("", "{}"));
    }
    assert_eq!(
        (line.status, line.lease_status.as_str()),
        (503, "unavailable")
    );
    nodes[..2].iter().for_each(Redis::resume);
    wait_healed(&gateway);
    gateway.wait_held(0, 0);
    wait_until("no stray lock is left", || holders(&nodes, LOCK) == 0);
}

#[test]
fn requests_are_refused_while_a_majority_is_gone() {
    let mut nodes = Redis::group(3);
    let gateway = plan_with(&nodes, "quarantine 1s;", "lease_ttl 1s;").start();
    wait_states(&gateway, "up,up,up");
    gateway.chat().send().expect_status(200);
    nodes[..2].iter_mut().for_each(Redis::kill);
    wait_states(&gateway, "down,down,up");
    for _ in 0..6 {
        assert_refused_at_once(&gateway);
    }
    nodes[..2].iter_mut().for_each(Redis::restart);
    wait_healed(&gateway);
    wait_states(&gateway, "up,up,up");
}

#[test]
fn a_stream_survives_a_short_silence_of_the_majority() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let gateway = plan_with(&nodes, "node_timeout 300ms;", "lease_ttl 8s;")
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let stream = reload::stream(&gateway, &upstream);
    wait_until("every node has the lock", || holders(&nodes, LOCK) == 3);
    let nonce = nodes[2].ask(&format!("GET {LOCK}"));
    nodes[..2].iter().for_each(Redis::pause);
    wait_states(&gateway, "suspect,suspect,up");
    nodes[..2].iter().for_each(Redis::resume);
    wait_states(&gateway, "up,up,up");
    let end = |redis: &Redis| redis.number(&format!("PEXPIRETIME {LOCK}"));
    for redis in &nodes {
        let before = end(redis);
        wait_until("the lock is prolonged", || end(redis) > before);
        assert_eq!(redis.ask(&format!("GET {LOCK}")), nonce);
    }
    reload::end(stream);
}

/// What a client reads to the end of a stream whose majority goes away for good.
#[track_caller]
fn bereft(vanish: impl FnOnce(&mut [Redis]), back: impl FnOnce(&mut [Redis])) {
    let mut nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let gateway = plan_with(&nodes, "", "lease_ttl 2s;")
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let (mut events, mut exchange) = reload::stream(&gateway, &upstream);
    let since = Instant::now();
    vanish(&mut nodes[..2]);
    exchange.event("while the lock is valid");
    assert_eq!(events.next().as_deref(), Some("while the lock is valid"));
    let error = events.next().expect("an error at the end");
    let lasted = since.elapsed();
    assert!(error.contains("\"lease_lost\""), "{error}");
    assert_eq!(events.next(), None, "the stream has ended");
    // Renewed every third of its life, it was valid for two thirds more when they went away.
    assert!(lasted >= Duration::from_millis(600), "{lasted:?}");
    exchange.wait_closed();
    let line = &gateway.logged(1)[0];
    assert_eq!((line.status, line.lease_status.as_str()), (200, "lost"));
    gateway.error_log().wait_for("\"event\":\"lease_lost\"");
    gateway.wait_held(0, 0);
    back(&mut nodes[..2]);
    let next = thread::scope(|scope| {
        let healed = scope.spawn(|| wait_healed(&gateway));
        while !healed.is_finished() {
            if let Some(mut exchange) = upstream.try_accept() {
                exchange.answer();
            }
        }
        healed.join()
    });
    next.expect("requests pass again");
}

#[test]
fn a_stream_ends_with_its_lock_when_the_majority_stays_silent() {
    bereft(
        |nodes| nodes.iter().for_each(Redis::pause),
        |nodes| nodes.iter().for_each(Redis::resume),
    );
}

#[test]
fn a_stream_ends_with_its_lock_when_the_majority_is_gone() {
    bereft(
        |nodes| nodes.iter_mut().for_each(Redis::kill),
        |nodes| nodes.iter_mut().for_each(Redis::restart),
    );
}

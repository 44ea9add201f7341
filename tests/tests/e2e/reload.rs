//! Reloads while streams run: none is lost, no slot is lent twice.

use e2e::{Events, Exchange, Gateway, Plan, RawUpstream, wait_until};

pub(crate) fn start(pool: &str) -> (Gateway, RawUpstream) {
    let upstream = RawUpstream::bind();
    let plan = Plan::new()
        .workers(2)
        .pool("main", pool)
        .upstream(upstream.address());
    (plan.start(), upstream)
}

/// A stream that has begun.
#[track_caller]
pub(crate) fn stream(gateway: &Gateway, upstream: &RawUpstream) -> (Events, Exchange) {
    let client = gateway.chat().spawn_events();
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("first");
    let mut events = client.join().expect("a head");
    assert_eq!(events.next().as_deref(), Some("first"));
    (events, exchange)
}

/// Goes on with a stream, and ends it in order.
#[track_caller]
pub(crate) fn end((mut events, mut exchange): (Events, Exchange)) {
    exchange.event("more");
    assert_eq!(events.next().as_deref(), Some("more"), "the stream goes on");
    exchange.end_stream();
    assert_eq!(events.next().as_deref(), Some("[DONE]"));
}

fn key_of(exchange: &Exchange) -> String {
    exchange
        .header("authorization")
        .unwrap_or_default()
        .replace("Bearer sk-e2e-", "")
}

#[test]
fn a_stream_survives_a_reload_and_keeps_its_slot() {
    let (mut gateway, upstream) = start("key sk-e2e-a;");
    let running = stream(&gateway, &upstream);
    for _ in 0..3 {
        gateway.reload(|plan| plan);
        gateway.wait_held(1, 0);
    }
    let waiting = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    assert!(!upstream.is_called(), "the slot is still held");
    end(running);
    upstream.accept().answer();
    waiting.join().expect("an answer").expect_status(200);
}

#[test]
fn a_lease_is_renewed_by_a_worker_that_is_shutting_down() {
    let (mut gateway, upstream) = start("key sk-e2e-a; lease_ttl 2s;");
    let running = stream(&gateway, &upstream);
    gateway.reload(|plan| plan);
    let waiting = gateway.chat().header("x-waits", "yes").spawn();
    gateway.wait_held(1, 1);
    // Longer than the life of a lease that nobody renews.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(3);
    wait_until("its life has passed", || {
        assert!(!upstream.is_called(), "the slot is still held");
        std::time::Instant::now() > until
    });
    end(running);
    upstream.accept().answer();
    waiting.join().expect("an answer").expect_status(200);
}

#[test]
fn those_who_wait_survive_a_reload() {
    let (mut gateway, upstream) = start("key sk-e2e-a;");
    let running = stream(&gateway, &upstream);
    let clients: Vec<_> = (0..4).map(|_| gateway.chat().spawn()).collect();
    gateway.wait_held(1, 4);
    gateway.reload(|plan| plan);
    let late = gateway.chat().spawn();
    gateway.wait_held(1, 5);
    end(running);
    for _ in 0..5 {
        upstream.accept().answer();
    }
    for client in clients {
        client.join().expect("an answer").expect_status(200);
    }
    late.join().expect("an answer").expect_status(200);
}

#[test]
fn an_added_key_is_free_at_once_while_the_old_one_is_held() {
    let (mut gateway, upstream) = start("key sk-e2e-a;");
    let running = stream(&gateway, &upstream);
    gateway.reload(|plan| plan.pool("main", "key sk-e2e-b; key sk-e2e-a;"));
    let second = stream(&gateway, &upstream);
    assert_eq!(key_of(&second.1), "b");
    let waiting = gateway.chat().spawn();
    gateway.wait_held(2, 1);
    end(running);
    let mut third = upstream.accept();
    assert_eq!(key_of(&third), "a");
    third.answer();
    waiting.join().expect("an answer").expect_status(200);
    end(second);
}

#[test]
fn an_added_key_serves_those_who_wait_in_new_workers() {
    let (mut gateway, upstream) = start("key sk-e2e-a;");
    let running = stream(&gateway, &upstream);
    gateway.reload(|plan| plan.pool("main", "key sk-e2e-a; key sk-e2e-b;"));
    let second = stream(&gateway, &upstream);
    assert_eq!(key_of(&second.1), "b");
    end(second);
    end(running);
}

#[test]
fn a_removed_key_ends_its_stream_and_is_never_lent_again() {
    let (mut gateway, upstream) = start("key sk-e2e-a; key sk-e2e-b;");
    let running = [stream(&gateway, &upstream), stream(&gateway, &upstream)];
    gateway.reload(|plan| plan.pool("main", "key sk-e2e-b;"));
    running.into_iter().for_each(end);
    gateway.wait_held(0, 0);
    assert_eq!(gateway.held("main").slots, 1);
    for _ in 0..3 {
        let client = gateway.chat().spawn();
        let mut exchange = upstream.accept();
        assert_eq!(key_of(&exchange), "b");
        exchange.answer();
        client.join().expect("an answer").expect_status(200);
    }
}

#[test]
fn a_key_that_comes_back_while_its_stream_runs_is_still_held() {
    let (mut gateway, upstream) = start("key sk-e2e-a;");
    let running = stream(&gateway, &upstream);
    gateway.reload(|plan| plan.pool("main", "key sk-e2e-b;"));
    gateway.reload(|plan| plan.pool("main", "key sk-e2e-a; key sk-e2e-b;"));
    let second = stream(&gateway, &upstream);
    assert_eq!(
        key_of(&second.1),
        "b",
        "the key a is held by a stream of long ago"
    );
    let waiting = gateway.chat().spawn();
    gateway.wait_held(2, 1);
    end(running);
    upstream.accept().answer();
    waiting.join().expect("an answer").expect_status(200);
    end(second);
}

#[test]
fn reordered_keys_keep_their_leases() {
    let (mut gateway, upstream) = start("key sk-e2e-a; key sk-e2e-b; key sk-e2e-c;");
    let running = stream(&gateway, &upstream);
    let held = key_of(&running.1);
    gateway.reload(|plan| plan.pool("main", "key sk-e2e-c; key sk-e2e-b; key sk-e2e-a;"));
    let others = [stream(&gateway, &upstream), stream(&gateway, &upstream)];
    let mut keys: Vec<_> = others
        .iter()
        .map(|(_, exchange)| key_of(exchange))
        .collect();
    keys.push(held);
    keys.sort();
    assert_eq!(keys, ["a", "b", "c"], "no key is lent twice");
    others.into_iter().for_each(end);
    end(running);
}

#[test]
fn fewer_slots_bind_once_the_streams_before_have_ended() {
    let (mut gateway, upstream) = start("key sk-e2e-a slots=2;");
    let [first, second] = [stream(&gateway, &upstream), stream(&gateway, &upstream)];
    gateway.reload(|plan| plan.pool("main", "key sk-e2e-a slots=1;"));
    let waiting = gateway.chat().spawn();
    gateway.wait_held(2, 1);
    end(first);
    gateway.wait_held(1, 1);
    assert!(!upstream.is_called(), "one slot, and it is held");
    end(second);
    upstream.accept().answer();
    waiting.join().expect("an answer").expect_status(200);
}

#[test]
fn more_slots_are_free_at_once() {
    let (mut gateway, upstream) = start("key sk-e2e-a slots=1;");
    let first = stream(&gateway, &upstream);
    gateway.reload(|plan| plan.pool("main", "key sk-e2e-a slots=2;"));
    let second = stream(&gateway, &upstream);
    gateway.wait_held(2, 0);
    end(first);
    end(second);
}

#[test]
fn the_stream_of_a_removed_pool_survives() {
    let upstream = RawUpstream::bind();
    let mut gateway = Plan::new()
        .pool("main", "key sk-e2e-a;")
        .pool("other", "key sk-e2e-b;")
        .upstream(upstream.address())
        .start();
    let running = stream(&gateway, &upstream);
    // The first pool is the one that serves.
    gateway.reload(|plan| plan.without_pool("main"));
    let second = stream(&gateway, &upstream);
    assert_eq!(key_of(&second.1), "b");
    end(running);
    end(second);
}

#[test]
fn a_reload_with_a_mistake_leaves_everything_as_it_was() {
    let upstream = RawUpstream::bind();
    let mut gateway = Plan::new()
        .expect("\"nowhere\"")
        .upstream(upstream.address())
        .start();
    let workers = gateway.nginx().worker_pids();
    let running = stream(&gateway, &upstream);
    gateway.reload_refused(|plan| plan.server("openai nowhere;"));
    gateway.error_log().wait_for("\"nowhere\"");
    assert_eq!(gateway.nginx().worker_pids(), workers);
    end(running);
    let client = gateway.chat().spawn();
    upstream.accept().answer();
    client.join().expect("an answer").expect_status(200);
}

//! Reloads while streams run: none is lost, no slot is lent twice.

use std::fs;

use e2e::{Events, Exchange, Gateway, Plan, RawClient, RawUpstream, post, wait_until};
use openai_keys::{Recipient, encrypt, generate};

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

/// `nginx -s` runs in the shell of an operator, whose variables are not those of the server.
#[test]
fn a_signal_needs_no_variables() {
    let (secret, public) = generate();
    let sealed = |text: &[u8]| {
        let sealed = encrypt(text, &Recipient::Public(&public)).expect("encrypted");
        String::from_utf8(sealed).expect("armor")
    };
    let gateway = Plan::new()
        .environment("ENCRYPTION_KEY", &secret)
        .environment("LOG_LEVEL", "debug")
        .environment("URLS", "redis://127.0.0.1:1")
        .environment("TOKEN", "token-of-a-client")
        .file("password", &sealed(b"pa-ss-word"))
        .file("keys", &sealed(b"sk-e2e-main-0001"))
        .pool("main", "key file:{dir}/keys;")
        .clients("client app env:TOKEN; client another file:{dir}/password;")
        .http("openai_redlock locks { node env:URLS; password file:{dir}/password; }")
        .http("openai_event_log {dir}/events.log;")
        .start();
    for shell in [
        &[][..],
        &[
            ("ENCRYPTION_KEY", "AGE-SECRET-KEY-1"),
            ("LOG_LEVEL", "loud"),
            ("URLS", "http://nowhere.invalid"),
            ("TOKEN", "short"),
        ],
    ] {
        let sent = gateway.signal_from_shell("reopen", shell);
        assert!(sent.ok, "{}", sent.output);
    }
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

/// How many eventfds the master has.
fn eventfds(gateway: &mut Gateway) -> usize {
    let list = fs::read_dir(format!("/proc/{}/fd", gateway.nginx().master_pid()));
    let links = list.expect("a master").filter_map(|entry| {
        let link = fs::read_link(entry.ok()?.path()).ok()?;
        Some(link.to_string_lossy().into_owned())
    });
    links.filter(|link| link == "anon_inode:[eventfd]").count()
}

#[test]
fn the_master_closes_what_a_dropped_zone_had() {
    let mut gateway = Plan::new().start();
    let at_first = eventfds(&mut gateway);
    assert!(at_first > 0, "the zone has eventfds");
    for others in ["", "http {}"] {
        gateway.reload_others(others);
        assert_eq!(eventfds(&mut gateway), 0, "with \"{others}\"");
        gateway.reload(|plan| plan);
        assert_eq!(eventfds(&mut gateway), at_first);
        gateway.chat().send().expect_status(200);
    }
}

/// The worker that learns when a key returns may exit before that time.
#[test]
fn a_waiter_is_served_when_the_key_returns_although_the_worker_that_noted_it_is_gone() {
    let upstream = RawUpstream::bind();
    let pool = "key sk-e2e-a; lease_ttl 60s; wait 60s;";
    let plan = Plan::new()
        .pool("main", pool)
        .location("openai_next_key off;")
        .upstream(upstream.address());
    let mut gateway = plan.start();
    let first = gateway.chat().spawn();
    let mut limited = upstream.accept();
    gateway.reload(|plan| plan);
    let waiting = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    limited.send(
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\n\
         Content-Length: 0\r\n\r\n",
    );
    first.join().expect("an answer").expect_status(429);
    upstream.accept().answer();
    waiting.join().expect("an answer").expect_status(200);
}

/// nginx does not replace a worker that dies while it shuts down.
#[test]
fn a_worker_that_is_killed_while_it_shuts_down_blocks_no_slot() {
    let upstream = RawUpstream::bind();
    let mut gateway = Plan::new()
        .pool("main", "key sk-e2e-a; lease_ttl 9s; wait 60s;")
        .upstream(upstream.address())
        .loses_workers()
        .start();
    let old = gateway.nginx().worker_pids()[0];
    let port = gateway.port();
    let clients = (0..4).map(|_| {
        let mut client = RawClient::connect(port);
        client.send(post("", "{}"));
        client
    });
    let _clients: Vec<_> = clients.collect();
    let _running = upstream.accept();
    gateway.wait_held(1, 3);
    gateway.reload(|plan| plan);
    let waiting = gateway.chat().spawn();
    gateway.wait_held(1, 4);
    // Each of its waiters would get the slot for the life of a lease.
    gateway.nginx().kill_worker(old);
    upstream.accept().answer();
    waiting.join().expect("an answer").expect_status(200);
}

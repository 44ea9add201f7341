//! What else may happen in the meantime.

use std::time::{Duration, Instant};

use e2e::{Redis, post, wait_until};

use super::{CHAT, JSON, LEFT, assert_exact, finish, left_alone, plan, start, word};

#[test]
fn the_lease_is_renewed_for_as_long() {
    let pool = "key sk-e2e-main-0001 id=main; lease_ttl 1s;";
    let (gateway, upstream) = start(plan().pool("main", pool));
    let mut exchange = left_alone(&gateway, &upstream);
    let began = Instant::now();
    wait_until("the lease would have ended twice", || {
        exchange.event(&word("more"));
        began.elapsed() > Duration::from_secs(2)
    });
    gateway.wait_held(1, 0);
    finish(&mut exchange);
    assert_exact(&gateway, 200);
    assert_eq!(gateway.logged(1)[0].lease_status, "immediate");
}

#[test]
fn a_lock_on_redis_is_prolonged_and_given_back() {
    let node = Redis::start();
    let redlock = format!(
        "openai_redlock locks {{ node redis://127.0.0.1:{}; bootstrap on; node_timeout 5s; }}",
        node.port()
    );
    let pool = "store locks; key sk-e2e-main-0001 id=main; lease_ttl 2s;";
    let (gateway, upstream) = start(plan().http(&redlock).pool("main", pool));
    let mut exchange = left_alone(&gateway, &upstream);
    let began = Instant::now();
    wait_until("the lock would have ended", || {
        began.elapsed() > Duration::from_secs(3)
    });
    gateway.wait_held(1, 0);
    finish(&mut exchange);
    assert_exact(&gateway, 200);
    assert_ne!(gateway.logged(1)[0].lease_status, "lost");
}

/// The worker stands still until its slot is lent to somebody else.
#[test]
fn a_lease_that_is_lost_ends_it() {
    let (mut gateway, upstream) = start(
        plan()
            .workers(2)
            .pool("main", "key sk-e2e-main-0001; lease_ttl 1s;")
            .location("add_header X-Worker $pid;"),
    );
    let mut client = gateway.connect();
    client.send(post(JSON, CHAT));
    let mut exchange = upstream.accept();
    exchange.begin_stream().event(&word("first"));
    let head = client.read_until("first");
    let worker = head
        .lines()
        .find_map(|line| line.strip_prefix("X-Worker: "));
    let worker: i32 = worker.and_then(|pid| pid.parse().ok()).expect("its worker");
    drop(client);
    gateway.error_log().wait_for(LEFT);
    gateway.nginx().stop_worker(worker);
    let heir = gateway.chat().spawn();
    let mut other = upstream.accept();
    gateway.nginx().resume_worker(worker);
    exchange.wait_closed();
    other.answer();
    heir.join().expect("an answer").expect_status(200);
    let lines = gateway.logged(2);
    let lost = lines.iter().find(|line| line.lease_status == "lost");
    assert_eq!(lost.expect("the first one").usage, "estimated");
    gateway.wait_held(0, 0);
}

#[test]
fn a_worker_that_a_reload_ends_reads_to_the_end() {
    let (mut gateway, upstream) = start(plan());
    let mut exchange = left_alone(&gateway, &upstream);
    let old = gateway.nginx().worker_pids();
    gateway.reload(|plan| plan);
    exchange.event(&word("more"));
    gateway.wait_held(1, 0);
    finish(&mut exchange);
    assert_exact(&gateway, 200);
    wait_until("the old worker has ended", || {
        gateway
            .nginx()
            .worker_pids()
            .iter()
            .all(|pid| !old.contains(pid))
    });
}

#[test]
fn a_worker_that_is_to_end_in_time_does() {
    let (mut gateway, upstream) = start(plan().main("worker_shutdown_timeout 300ms;"));
    let mut exchange = left_alone(&gateway, &upstream);
    gateway.quit();
    exchange.wait_closed();
    wait_until("nginx has ended", || gateway.nginx().has_ended());
    assert_eq!(gateway.logged(1)[0].usage, "estimated");
}

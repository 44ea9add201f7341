//! The mock as independent witness: under load, and whatever happens to the workers, no key ever
//! has more requests in flight than it has slots.

use e2e::{Gateway, Load, LoadOutcome, Plan, RawUpstream, leave_early, post, stream_once};

const CLIENTS: usize = 200;
const REQUESTS: usize = 10_000;
const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn pool(keys: &[&str], options: &str) -> String {
    keys.iter()
        .map(|key| format!("key sk-e2e-{key} id={key} {options};\n"))
        .collect()
}

fn eight_keys(workers: usize) -> Plan {
    Plan::new()
        .workers(workers)
        .pool("main", &pool(&KEYS, "slots=1"))
}

/// A streaming request; the upstream takes up to 2 ms between words.
fn request(number: usize) -> String {
    let head = format!(
        "Content-Type: application/json\r\nX-Mock-Delay: {}us\r\n",
        number * 7919 % 5 * 500
    );
    post(&head, r#"{"model":"gpt-4o","stream":true}"#)
}

fn load(gateway: &Gateway, requests: usize) -> Load {
    let port = gateway.port();
    Load::start(CLIENTS, requests, move || {
        move |number| stream_once(port, &request(number))
    })
}

#[track_caller]
fn assert_exclusive(gateway: &Gateway) {
    let stats = gateway.mock().stats();
    assert!(
        stats.max_in_flight_of_a_key() <= 1,
        "a key was lent twice: {stats:?}"
    );
}

fn ten_thousand_requests(workers: usize) {
    let gateway = eight_keys(workers).start();
    let outcomes = load(&gateway, REQUESTS).finish();
    assert_eq!(outcomes, [(LoadOutcome::Complete, REQUESTS)].into());
    assert_exclusive(&gateway);
    let stats = gateway.mock().stats();
    assert_eq!(
        stats.totals.requests, REQUESTS as u64,
        "none is sent twice, none is lost"
    );
    assert_eq!(stats.keys.len(), KEYS.len(), "every key has done its part");
    gateway.wait_held(0, 0);
}

#[test]
fn ten_thousand_requests_of_two_hundred_clients_in_two_workers() {
    ten_thousand_requests(2);
}

#[test]
fn ten_thousand_requests_of_two_hundred_clients_in_four_workers() {
    ten_thousand_requests(4);
}

#[test]
fn clients_that_leave_at_random_moments() {
    let gateway = eight_keys(4).start();
    let port = gateway.port();
    let client = move |number: usize| match number % 3 {
        0 => leave_early(port, &request(number), number),
        _ => stream_once(port, &request(number)),
    };
    let outcomes = Load::start(CLIENTS, REQUESTS, || client).finish();
    let left = REQUESTS.div_ceil(3);
    assert_eq!(
        outcomes,
        [
            (LoadOutcome::Complete, REQUESTS - left),
            (LoadOutcome::Left, left)
        ]
        .into()
    );
    assert_exclusive(&gateway);
    gateway.wait_held(0, 0);
}

#[test]
fn a_worker_that_is_killed_again_and_again() {
    let mut gateway = eight_keys(4).loses_workers().start();
    let load = load(&gateway, usize::MAX);
    load.disturb(6, 500, || {
        let workers = gateway.nginx().worker_pids();
        gateway.nginx().kill_worker(workers[0]);
    });
    let outcomes = load.stop();
    // What was in the killed workers breaks; nobody hears an error of the gateway.
    assert!(
        outcomes
            .keys()
            .all(|o| matches!(o, LoadOutcome::Complete | LoadOutcome::Broken)),
        "{outcomes:?}"
    );
    assert!(
        outcomes.get(&LoadOutcome::Broken).copied().unwrap_or(0) <= 6 * CLIENTS,
        "{outcomes:?}"
    );
    assert!(
        outcomes.get(&LoadOutcome::Complete).copied().unwrap_or(0) >= 1_000,
        "{outcomes:?}"
    );
    assert_exclusive(&gateway);
    gateway.wait_held(0, 0);
}

#[test]
fn reloads_that_add_remove_and_reorder_keys_and_change_slots() {
    let mut gateway = eight_keys(2).start();
    let load = load(&gateway, usize::MAX);
    let reversed: Vec<_> = KEYS.iter().rev().copied().collect();
    let pools = [
        pool(&reversed, ""),
        pool(&KEYS[4..], ""),
        pool(&["i", "c", "j", "a", "h"], ""),
        pool(&KEYS[..6], "") + &pool(&["k"], "slots=2"),
        pool(&["k"], "slots=1") + &pool(&reversed, ""),
        pool(&KEYS, "slots=1"),
    ];
    let mut pools = pools.iter();
    load.disturb(6, 500, || {
        let body = pools.next().expect("a pool for each reload");
        gateway.reload(|plan| plan.pool("main", body));
    });
    let outcomes = load.stop();
    assert_eq!(outcomes.len(), 1, "no error at all: {outcomes:?}");
    assert!(
        outcomes.get(&LoadOutcome::Complete).copied().unwrap_or(0) >= 1_000,
        "{outcomes:?}"
    );
    let stats = gateway.mock().stats();
    for key in KEYS.iter().chain(&["i", "j"]) {
        let most = stats.key(&format!("Bearer sk-e2e-{key}")).max_in_flight;
        assert!(most <= 1, "{key} was lent twice");
    }
    assert!(stats.key("Bearer sk-e2e-k").max_in_flight <= 2);
    gateway.wait_held(0, 0);
}

/// The lease would live for an hour: it is not its end that frees the slot.
#[test]
fn the_leases_of_a_killed_worker_are_back_at_once() {
    let upstream = RawUpstream::bind();
    let mut gateway = Plan::new()
        .pool("main", "key sk-e2e-a; key sk-e2e-b; lease_ttl 1h;")
        .upstream(upstream.address())
        .loses_workers()
        .start();
    let mut clients: Vec<_> = (0..2).map(|_| gateway.connect()).collect();
    let mut exchanges = Vec::new();
    for client in &mut clients {
        client.send(post("", "{}"));
        exchanges.push(upstream.accept());
    }
    let mut waiter = gateway.connect();
    waiter.send(post("", "{}"));
    gateway.wait_held(2, 1);
    let worker = gateway.nginx().worker_pids()[0];
    gateway.nginx().kill_worker(worker);
    for client in &mut clients {
        assert_eq!(
            client.read_to_end(),
            "",
            "the connection has gone with the worker"
        );
    }
    gateway.wait_held(0, 0);
    let next = gateway.chat().spawn();
    upstream.accept().answer();
    next.join().expect("an answer").expect_status(200);
    assert_eq!(gateway.logged(1)[0].lease_status, "immediate");
}

#[test]
fn those_who_wait_in_other_workers_get_what_a_killed_worker_held() {
    let upstream = RawUpstream::bind();
    let mut gateway = Plan::new()
        .workers(4)
        .pool("main", "key sk-e2e-a; lease_ttl 1h;")
        .location("add_header X-Worker $pid;")
        .upstream(upstream.address())
        .loses_workers()
        .start();
    let mut holder = gateway.connect();
    holder.send(post("", "{}"));
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("first");
    let head = holder.read_until("data: first").to_lowercase();
    let worker = head
        .lines()
        .find_map(|line| line.strip_prefix("x-worker: ")?.parse().ok());
    let worker: i32 = worker.expect("the worker's process id");
    let port = gateway.port();
    let waiters = Load::start(12, 12, move || move |_| stream_once(port, &post("", "{}")));
    gateway.wait_held(1, 12);
    gateway.nginx().kill_worker(worker);
    exchange.wait_closed();
    while waiters.ended() < 12 {
        if let Some(mut exchange) = upstream.try_accept() {
            exchange.begin_stream().end_stream();
        }
    }
    let outcomes = waiters.finish();
    assert!(
        outcomes
            .keys()
            .all(|o| matches!(o, LoadOutcome::Complete | LoadOutcome::Broken)),
        "{outcomes:?}"
    );
    gateway.wait_held(0, 0);
}

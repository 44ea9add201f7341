//! A lock goes from request to request on one machine without a word to the nodes.

use e2e::{Exchange, Gateway, RawClient, RawUpstream, Redis, post, wait_until};

use super::{LOCK, holders, number, plan, plan_with, wait_states};

/// The location sends the upstream the fence of each request: of two workers, the first to end its
/// request need not be the first to log it.
const SEND_FENCE: &str = "proxy_set_header X-Fence $openai_fence;";

fn fence_of(exchange: &Exchange) -> u64 {
    number(exchange.header("x-fence").expect("a fence"))
}

/// The nonces that the lock had during each of so many requests, which all came at once.
#[track_caller]
fn nonces(in_group: &str, requests: usize) -> Vec<String> {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let gateway = plan_with(&nodes, in_group, "")
        .workers(2)
        .location(SEND_FENCE)
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let mut clients = vec![gateway.chat().spawn()];
    let mut exchange = upstream.accept();
    clients.extend((1..requests).map(|_| gateway.chat().spawn()));
    gateway.wait_held(1, requests - 1);
    let (mut nonces, mut fences) = (Vec::new(), Vec::new());
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
        fences.push(fence_of(&exchange));
        exchange.answer();
        if waiting > 0 {
            exchange = upstream.accept();
        }
    }
    for client in clients {
        client.join().expect("an answer").expect_status(200);
    }
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
fn the_lock_is_not_handed_over_if_so_configured() {
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
    let gateway = plan(&nodes)
        .workers(2)
        .location(SEND_FENCE)
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let mut fences = Vec::new();
    for _ in 0..3 {
        let clients: Vec<_> = (0..4).map(|_| gateway.chat().spawn()).collect();
        let mut exchange = upstream.accept();
        gateway.wait_held(1, 3);
        for _ in 1..4 {
            fences.push(fence_of(&exchange));
            exchange.answer();
            exchange = upstream.accept();
        }
        fences.push(fence_of(&exchange));
        exchange.answer();
        for client in clients {
            client.join().expect("an answer").expect_status(200);
        }
    }
    assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
    assert!(fences[0] > 5_000_000_000_000_000, "{fences:?}");
}

/// A stream that has begun, and the worker that serves it.
#[track_caller]
fn begin(gateway: &Gateway, upstream: &RawUpstream) -> (RawClient, Exchange, i32) {
    let mut client = gateway.connect();
    let head = "Content-Type: application/json\r\n";
    client.send(post(head, r#"{"model":"gpt-4o","stream":true}"#));
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("first");
    let head = client.read_until("first");
    let worker = head
        .lines()
        .find_map(|line| line.strip_prefix("X-Worker: "));
    let worker = worker.and_then(|pid| pid.parse().ok()).expect("its worker");
    (client, exchange, worker)
}

/// A node stands still while the first worker's renewal and the second one's word that it gives the
/// lock back are on their way to it, on two connections.
#[test]
fn a_lock_that_two_workers_had_is_given_back_on_a_node_that_stood_still() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let mut gateway = plan_with(&nodes, "", "lease_ttl 3s;")
        .workers(2)
        .location("add_header X-Worker $pid;")
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    let end = |redis: &Redis| redis.number(&format!("PEXPIRETIME {LOCK}"));
    for _ in 0..3 {
        let (client, mut exchange, worker) = begin(&gateway, &upstream);
        wait_until("every node has the lock", || holders(&nodes, LOCK) == 3);
        let before = end(&nodes[0]);
        nodes[2].pause();
        wait_until("it is prolonged", || end(&nodes[0]) > before);
        gateway.wait_held(1, 0);
        // So that the other worker takes the next connection.
        gateway.nginx().stop_worker(worker);
        let next = gateway.chat().spawn();
        gateway.wait_held(1, 1);
        gateway.nginx().resume_worker(worker);
        exchange.end_stream();
        upstream.accept().answer();
        next.join().expect("an answer").expect_status(200);
        drop(client);
        gateway.wait_held(0, 0);
        nodes[2].resume();
        wait_until("the lock is given back", || holders(&nodes, LOCK) == 0);
    }
    // Of two workers, the first to end its request need not be the first to log it.
    let lines = gateway.logged(6);
    let mut fences: Vec<_> = lines.iter().map(|line| number(&line.fence)).collect();
    fences.sort_unstable();
    let handed = |pair: &[u64]| pair[1] == pair[0] + 1;
    assert!(fences.chunks(2).all(handed), "{fences:?}");
}

//! Several machines that share pools: they take turns, and find what is free.

use std::thread::JoinHandle;

use e2e::{Answer, Exchange, Gateway, Plan, RawUpstream, Redis, wait_for, wait_until};
use serde_json::json;

use super::{number, on_group, plan, plan_with, status, wait_states};
use crate::reload;

/// Two machines before one upstream, which receives the name of the caller.
fn two_machines(nodes: &[Redis], upstream: &RawUpstream, plan: impl Fn() -> Plan) -> [Gateway; 2] {
    ["a", "b"].map(|name| {
        let gateway = plan()
            .upstream(upstream.address())
            .location(&format!("proxy_set_header X-Machine {name};"))
            .start();
        wait_states(&gateway, &vec!["up"; nodes.len()].join(","));
        gateway
    })
}

/// So many requests that wait.
fn crowd(gateway: &Gateway, token: &str, count: usize) -> Vec<JoinHandle<Answer>> {
    let client = |_| gateway.chat().token(token).spawn();
    let clients = (0..count).map(client).collect();
    wait_until("they all wait", || gateway.held("main").waiting == count);
    clients
}

/// Which machines called, in this order; each is answered when it is the only one.
fn calls(upstream: &RawUpstream, mut exchange: Exchange, count: usize) -> String {
    let mut machines = String::new();
    for left in (0..count).rev() {
        assert!(!upstream.is_called(), "one slot, one request");
        machines += exchange.header("X-Machine").expect("a name");
        exchange.answer();
        if left > 0 {
            exchange = upstream.accept();
        }
    }
    machines
}

fn join(clients: Vec<JoinHandle<Answer>>) {
    for client in clients {
        client.join().expect("an answer").expect_status(200);
    }
}

#[track_caller]
fn wait_for_others(gateways: &[Gateway]) {
    for gateway in gateways {
        wait_until("it knows that others wait", || {
            status(gateway)["others_wait"] == true
        });
    }
}

#[test]
fn machines_take_turns() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let machines = two_machines(&nodes, &upstream, || plan_with(&nodes, "hand_over 0;", ""));
    let [a, b] = &machines;
    let first = a.chat().spawn();
    let exchange = upstream.accept();
    let mut clients = crowd(a, "anybody", 6);
    clients.extend(crowd(b, "anybody", 6));
    clients.push(first);
    wait_for_others(&machines);
    // Now and then a machine looks by itself, and may find what has just been given up.
    let turns = calls(&upstream, exchange, 13);
    let changes = turns.as_bytes().windows(2).filter(|two| two[0] != two[1]);
    assert!(changes.count() >= 6, "{turns}");
    join(clients);
    for machine in &machines {
        machine.wait_held(0, 0);
    }
    for redis in &nodes {
        wait_until("nobody waits", || redis.ask("ZCARD {main}:q") == "0");
    }
}

#[test]
fn the_highest_priority_comes_first_whatever_the_machine() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let machines = two_machines(&nodes, &upstream, || {
        plan_with(&nodes, "hand_over 0;", "")
            .clients("client low env:LOW priority=-10; client high env:HIGH priority=10;")
            .environment("LOW", "e2e-client-low")
            .environment("HIGH", "e2e-client-high")
    });
    let [a, b] = &machines;
    let mut clients = vec![a.chat().token("e2e-client-low").spawn()];
    let exchange = upstream.accept();
    clients.extend(crowd(a, "e2e-client-low", 3));
    clients.extend(crowd(b, "e2e-client-high", 3));
    wait_for_others(&machines);
    // As above: some may come out of turn.
    let turns = calls(&upstream, exchange, 7);
    assert_eq!(turns[1..6].matches('b').count(), 3, "{turns}");
    join(clients);
}

/// While nobody waits elsewhere a lock passes on here; it does so for a moment only once
/// somebody does.
#[test]
fn a_machine_that_has_the_lock_does_not_keep_it_from_others() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let machines = two_machines(&nodes, &upstream, || {
        plan_with(&nodes, "hand_over 1000;", "")
    });
    let [a, b] = &machines;
    let mut clients = vec![a.chat().spawn()];
    let mut exchange = upstream.accept();
    clients.push(b.chat().spawn());
    b.wait_held(1, 1);
    let handed_over = wait_for("the other machine has its turn", || {
        // Somebody always waits here, too.
        while a.held("main").waiting < 2 {
            clients.push(a.chat().spawn());
        }
        exchange.answer();
        exchange = upstream.accept();
        (exchange.header("X-Machine") == Some("b")).then(|| status(a)["handed_over"].clone())
    });
    assert!(handed_over.as_u64() > Some(0), "{handed_over}");
    exchange.answer();
    while !clients.iter().all(JoinHandle::is_finished) {
        if let Some(mut exchange) = upstream.try_accept() {
            exchange.answer();
        }
    }
    join(clients);
}

#[test]
fn a_machine_whose_redis_knows_no_pushes_has_its_turn_all_the_same() {
    let nodes: Vec<_> = (0..3)
        .map(|_| Redis::start_with("--rename-command HELLO NO-HELLO"))
        .collect();
    let upstream = RawUpstream::bind();
    let machines = two_machines(&nodes, &upstream, || plan_with(&nodes, "hand_over 0;", ""));
    let [a, b] = &machines;
    let stream = reload::stream(a, &upstream);
    let client = b.chat().spawn();
    b.wait_held(1, 1);
    reload::end(stream);
    upstream.accept().answer();
    join(vec![client]);
}

/// The machines know nothing of one another's leases; each asks for one slot first, and for
/// twice as many each time that all were held.
#[test]
fn what_is_free_is_found_among_what_others_hold() {
    let nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let keys: String = (0..8)
        .map(|key| format!("key sk-e2e-main-{key:04} id=k{key}; "))
        .collect();
    let pool = format!("{keys} wait 0; store locks;");
    let group = super::group(&nodes, "bootstrap on;");
    let machines = two_machines(&nodes, &upstream, || on_group(&group).pool("main", &pool));
    let [a, b] = &machines;
    let mut streams: Vec<_> = (0..7).map(|_| reload::stream(a, &upstream)).collect();
    streams.push(reload::stream(b, &upstream));
    // All are held now. A request that may not wait gets an error.
    b.chat().send().expect_status(429);
    a.chat().send().expect_status(429);
    a.wait_held(8, 0);
    streams.into_iter().for_each(reload::end);
    let line = b.logged(2).remove(1);
    assert_eq!(
        (line.status, line.lock_votes.as_str()),
        (200, "2"),
        "{line:?}"
    );
    assert!(number(&line.lock_rounds) <= 4, "{line:?}");
    let keys: std::collections::BTreeSet<_> = (a
        .logged(8)
        .iter()
        .filter(|l| l.status == 200)
        .map(|l| l.key_id.clone()))
    .chain([line.key_id])
    .collect();
    assert_eq!(keys.len(), 8, "{keys:?}");
}

#[test]
fn variables_report_how_the_lock_was_taken_and_how_the_nodes_do() {
    let mut nodes = Redis::group(3);
    let gateway = plan(&nodes).start();
    wait_states(&gateway, "up,up,up");
    nodes[2].kill();
    wait_states(&gateway, "up,up,down");
    gateway.chat().send().expect_status(200);
    let line = gateway.logged(1).remove(0);
    assert_eq!((&*line.lock_rounds, &*line.lock_votes), ("1", "2"));
    let reported = status(&gateway);
    assert_eq!(reported["locked"], 1, "{reported}");
    for (at, redis) in nodes.iter().enumerate() {
        let node = &reported["nodes"][at];
        assert_eq!(node["node"], format!("127.0.0.1:{}", redis.port()));
        let granted = u64::from(at < 2);
        assert_eq!(node["granted"], json!(granted), "{node}");
        assert_eq!(
            (&node["refused"], &node["timeouts"]),
            (&json!(0), &json!(0))
        );
    }
    assert!(
        reported["nodes"][0]["round_trip_us"].as_u64() > Some(0),
        "{reported}"
    );
}

#[test]
fn a_pool_may_fall_back_to_its_own_machine() {
    let mut nodes = Redis::group(3);
    let upstream = RawUpstream::bind();
    let gateway = on_group(&super::group(&nodes, "bootstrap on;"))
        .pool(
            "main",
            "key sk-e2e-main-0001 id=main; store locks fallback=shm; lease_ttl 1s;",
        )
        .workers(2)
        .upstream(upstream.address())
        .start();
    wait_states(&gateway, "up,up,up");
    nodes.iter_mut().for_each(Redis::kill);
    wait_until("a worker knows", || !super::states(&gateway).contains("up"));
    let stream = reload::stream(&gateway, &upstream);
    let second = gateway.chat().spawn();
    gateway.wait_held(1, 1);
    reload::end(stream);
    upstream.accept().answer();
    join(vec![second]);
    let statuses: Vec<_> = (gateway.logged(2).iter())
        .map(|line| line.lease_status.clone())
        .collect();
    assert_eq!(statuses, ["fallback", "fallback"]);
    assert!(gateway.error_log().text().contains("redlock_fallback"));
    nodes.iter_mut().for_each(Redis::restart);
    wait_until("every worker takes locks again", || {
        let client = gateway.chat().spawn();
        upstream.accept().answer();
        join(vec![client]);
        let text = gateway.error_log().text();
        let count = |event: &str| text.matches(event).count();
        count("redlock_fallback_over") == count("redlock_fallback\"")
    });
}

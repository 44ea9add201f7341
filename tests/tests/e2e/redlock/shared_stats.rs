//! Machines that share a group report what all of them have counted, whatever dies.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use e2e::{Gateway, Plan, Redis, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use super::{group, number, on_group};

const APP: &str = "token-of-app";
const BATCH: &str = "token-of-batch";
const ADMIN: &str = "token-of-an-admin";
/// What the nodes keep: rows, and their order.
const ROWS: &str = "{@stats}:u";

/// A machine of a pool with enough keys, which are there whatever the nodes do.
fn plan(nodes: &[Redis], in_group: &str) -> Plan {
    let group = group(nodes, &format!("bootstrap on; {in_group}"));
    on_group(&group)
        .workers(2)
        .pool(
            "main",
            "key sk-e2e-main-0001 id=main slots=64; store locks fallback=shm;",
        )
        .environment("APP", APP)
        .environment("BATCH", BATCH)
        .environment("ADMIN", ADMIN)
        .clients("client app env:APP; client batch env:BATCH; client ops env:ADMIN role=admin;")
        .server("location = /v1/stats { openai_api on; }")
        .loses_workers()
}

fn machine(nodes: &[Redis]) -> Gateway {
    plan(nodes, "stats_interval 100ms;").start()
}

fn send(gateway: &Gateway, token: &str, count: usize) {
    for _ in 0..count {
        gateway.chat().token(token).send().expect_status(200);
    }
}

fn stats(gateway: &Gateway) -> Value {
    let answer = gateway.get("/v1/stats").token(ADMIN).send();
    answer.expect_status(200).json()
}

/// Requests and tokens of each service, as a machine reports them.
fn reported(gateway: &Gateway) -> Vec<(String, u64, u64)> {
    let stats = stats(gateway);
    let services = stats["services"].as_array().expect("services");
    let service = |service: &Value| {
        let name = service["service"].as_str().expect("a name");
        let number = |number: &Value| number.as_u64().expect("a number");
        let tokens = number(&service["tokens"]["total"]);
        (name.to_owned(), number(&service["requests"]), tokens)
    };
    let mut services: Vec<_> = services.iter().map(service).collect();
    services.retain(|(_, requests, _)| *requests > 0);
    services.sort();
    services
}

fn requests(gateway: &Gateway) -> u64 {
    reported(gateway)
        .into_iter()
        .map(|(_, count, _)| count)
        .sum()
}

/// Waits until all machines report so many requests; more would be too many.
#[track_caller]
fn wait_requests(machines: &[&Gateway], wanted: u64) {
    for gateway in machines {
        wait_until(&format!("{wanted} requests are reported"), || {
            let now = requests(gateway);
            assert!(now <= wanted, "{now} of {wanted}: {:?}", reported(gateway));
            now == wanted
        });
    }
}

/// Waits until all nodes have as many rows as one that has them all.
#[track_caller]
fn wait_rows(nodes: &[Redis], services: u64) {
    // Each service of each machine, and once for each machine its model, pool and key.
    let rows = services * 4;
    for redis in nodes {
        wait_until("the node has all rows", || {
            number(&redis.ask(&format!("HLEN {ROWS}"))) == rows
        });
    }
}

#[test]
fn each_machine_reports_what_all_have_counted() {
    let nodes = Redis::group(3);
    let (mut a, b) = (machine(&nodes), machine(&nodes));
    send(&a, APP, 5);
    send(&a, BATCH, 2);
    send(&b, APP, 3);
    wait_requests(&[&a, &b], 10);
    let all = reported(&a);
    assert_eq!(all, reported(&b));
    let counts: Vec<_> = all
        .iter()
        .map(|(name, count, _)| (&**name, *count))
        .collect();
    assert_eq!(counts, [("app", 8), ("batch", 2)]);
    assert_eq!(all[0].2 / 8, all[1].2 / 2, "each has used the same");
    for by in ["services", "models", "pools", "keys"] {
        let stats = stats(&a);
        let rows = stats[by].as_array().expect("rows");
        let sum: u64 = rows.iter().filter_map(|row| row["requests"].as_u64()).sum();
        assert_eq!(sum, 10, "{by}: {stats}");
    }
    // Old and new workers of a machine do not count twice; nor is anything forgotten.
    a.reload(|plan| plan.workers(1));
    send(&a, APP, 1);
    send(&b, BATCH, 1);
    wait_requests(&[&a, &b], 12);
    // The worker that sends to the nodes dies; another does it.
    let worker = a.nginx().worker_pids()[0];
    a.nginx().kill_worker(worker);
    wait_until("there is another worker", || {
        let workers = a.nginx().worker_pids();
        !workers.is_empty() && !workers.contains(&worker)
    });
    send(&a, APP, 1);
    wait_requests(&[&a, &b], 13);
}

#[test]
fn a_machine_that_crashes_comes_back_to_the_same_totals() {
    let nodes = Redis::group(3);
    let (mut a, b) = (machine(&nodes), machine(&nodes));
    let mut total = 0;
    for round in 1..=3 {
        send(&a, APP, 4);
        send(&b, APP, round);
        total += 4 + round as u64;
        wait_requests(&[&a, &b], total);
        a.crash();
        assert_eq!(requests(&b), total);
        wait_requests(&[&a, &b], total);
    }
    send(&a, BATCH, 1);
    wait_requests(&[&a, &b], total + 1);
}

/// The file may be older than what the nodes know, or newer than the nodes.
#[test]
fn a_file_of_totals_adds_nothing_to_what_the_nodes_know() {
    let mut nodes = Redis::group(3);
    let dir = TempDir::new().expect("a folder");
    let open = Permissions::from_mode(0o777);
    fs::set_permissions(dir.path(), open).expect("its permissions can be set");
    let kept = |interval: &str| {
        let path = dir.path().display();
        let line = format!("openai_stats_file {path}/stats interval={interval};");
        plan(&nodes, "stats_interval 100ms;").http(&line)
    };
    let (mut a, b) = (kept("1h").start(), machine(&nodes));
    let mut total = 0;
    for round in 1..=3 {
        send(&a, APP, 4);
        send(&b, APP, round);
        total += 4 + round as u64;
        wait_requests(&[&a, &b], total);
        a.crash();
        wait_requests(&[&a, &b], total);
        // In order, so that it is written; no machine receives it twice.
        a.restart();
        wait_requests(&[&a, &b], total);
    }
    send(&a, BATCH, 1);
    wait_requests(&[&a, &b], total + 1);
    // What is in the file is known without the nodes.
    nodes.iter_mut().for_each(Redis::kill);
    a.restart();
    assert_eq!(requests(&a), total + 1);
    drop(b);
    // And nodes receive what they have missed, also of the nginx before.
    send(&a, BATCH, 2);
    a.restart();
    assert_eq!(requests(&a), total + 3);
    nodes.iter_mut().for_each(Redis::restart);
    let c = machine(&nodes);
    wait_requests(&[&c], 2);
    wait_requests(&[&a], total + 3);
}

#[test]
fn what_was_counted_last_is_reported_when_a_machine_ends_in_order() {
    let nodes = Redis::group(3);
    let mut a = plan(&nodes, "stats_interval 1h;").start();
    wait_until("the nodes are connected", || {
        super::states(&a) == "up,up,up"
    });
    send(&a, APP, 3);
    a.quit();
    wait_until("it has ended", || a.nginx().has_ended());
    let b = machine(&nodes);
    wait_requests(&[&b], 3);
}

/// Not all at once: a machine that is no more, too, is remembered.
#[test]
fn nodes_may_be_lost_one_after_the_other() {
    let mut nodes = Redis::group(3);
    let (mut a, b) = (machine(&nodes), machine(&nodes));
    send(&a, APP, 3);
    send(&b, BATCH, 4);
    wait_requests(&[&a, &b], 7);
    wait_rows(&nodes, 2);
    for at in 0..nodes.len() {
        nodes[at].kill();
        a.crash();
        wait_requests(&[&a, &b], 7);
        nodes[at].restart();
        wait_rows(&nodes, 2);
    }
    // One node is down for good, and all machines begin anew.
    nodes[0].kill();
    let c = machine(&nodes);
    drop((a, b));
    wait_requests(&[&c], 7);
}

#[test]
fn nodes_that_all_forget_learn_it_from_the_machines() {
    let mut nodes = Redis::group(3);
    let (a, b) = (machine(&nodes), machine(&nodes));
    send(&a, APP, 3);
    send(&b, APP, 4);
    wait_requests(&[&a, &b], 7);
    nodes.iter_mut().for_each(Redis::kill);
    assert_eq!((requests(&a), requests(&b)), (7, 7));
    send(&a, APP, 1);
    nodes.iter_mut().for_each(Redis::restart);
    wait_rows(&nodes, 2);
    let c = machine(&nodes);
    wait_requests(&[&a, &b, &c], 8);
    // Nobody's connection breaks.
    for redis in &nodes {
        redis.ask("FLUSHALL");
    }
    wait_rows(&nodes, 2);
    wait_requests(&[&a, &b, &c], 8);
}

#[test]
fn a_quota_is_for_all_machines_and_outlives_them() {
    let nodes = Redis::group(3);
    let limited = |plan: Plan| {
        plan.clients(
            "client app env:APP; client batch env:BATCH; client ops env:ADMIN role=admin; \
             quota app requests=6/month;",
        )
    };
    let start = || limited(plan(&nodes, "stats_interval 100ms;")).start();
    let (mut a, b) = (start(), start());
    send(&a, APP, 4);
    send(&b, APP, 1);
    wait_requests(&[&a, &b], 5);
    send(&b, APP, 1);
    wait_requests(&[&a, &b], 6);
    a.crash();
    wait_requests(&[&a], 6);
    for gateway in [&a, &b] {
        let refusal = gateway.chat().token(APP).send().refusal();
        assert_eq!(refusal.code.as_deref(), Some("insufficient_quota"));
        send(gateway, BATCH, 1);
    }
}

#[test]
fn a_minority_is_enough_to_report() {
    let mut nodes = Redis::group(3);
    nodes[1].kill();
    nodes[2].kill();
    let (a, b) = (machine(&nodes), machine(&nodes));
    send(&a, APP, 2);
    wait_requests(&[&a, &b], 2);
}

#[test]
fn nothing_is_shared_where_it_is_off() {
    let nodes = Redis::group(1);
    let (a, b) = (plan(&nodes, "stats_interval off;").start(), machine(&nodes));
    send(&a, APP, 2);
    send(&b, APP, 1);
    wait_rows(&nodes, 1);
    wait_requests(&[&a], 2);
    wait_requests(&[&b], 1);
}

#[test]
fn a_node_that_does_not_allow_it_locks_all_the_same() {
    let nodes = Redis::group(1);
    nodes[0].ask("ACL SETUSER default resetkeys ~{main}:*");
    let a = machine(&nodes);
    super::wait_states(&a, "up");
    send(&a, APP, 1);
    a.error_log().wait_for("stats_not_shared");
    send(&a, APP, 1);
    wait_requests(&[&a], 2);
    nodes[0].ask("ACL SETUSER default allkeys");
    let b = machine(&nodes);
    wait_requests(&[&b], 2);
    assert_eq!(requests(&a), 2);
}

#[test]
fn rows_that_cannot_be_are_not_taken_from_nodes() {
    let nodes = Redis::group(3);
    let a = machine(&nodes);
    send(&a, APP, 1);
    wait_rows(&nodes, 1);
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let day = seconds.expect("a clock").as_secs() / 86_400;
    let most = u64::MAX;
    // Requests that succeeded are the twelfth sum of a row, tokens of prompts the second.
    let rows = [
        ("s:app".to_owned(), format!("1,{most},,,,,,,,,,1,")),
        ("s:batch".to_owned(), format!(",,,,,,,,,,,{most},")),
        ("s:nobody".to_owned(), ",,,,,,,,,,,3,".to_owned()),
        ("p:nowhere".to_owned(), ",,,,,,,,,,,3,".to_owned()),
        ("z:app".to_owned(), ",,,,,,,,,,,3,".to_owned()),
        // This one can be, and comes last.
        ("s:ops".to_owned(), ",,,,,,,,,,,4,".to_owned()),
    ];
    for redis in &nodes {
        for (at, (name, sums)) in rows.iter().enumerate() {
            let field = format!("{day}:{at:015x}f:{name}");
            redis.ask(&format!("HSET {ROWS} {field} {sums}"));
            redis.ask(&format!("ZADD {{@stats}}:o {} {field}", 1_000_000 + at));
        }
        redis.ask("HSET {@stats}:i changes 1000010");
    }
    wait_until("the last row is reported", || {
        reported(&a)
            .iter()
            .any(|(name, requests, _)| name == "ops" && *requests == 4)
    });
    let all = reported(&a);
    let names: Vec<_> = all
        .iter()
        .map(|(name, requests, _)| (&**name, *requests))
        .collect();
    assert_eq!(names, [("app", 1), ("ops", 4)]);
    assert!(all[0].2 < 1_000, "{all:?}");
    let pools = stats(&a)["pools"].to_string();
    assert!(!pools.contains("nowhere"), "{pools}");
}

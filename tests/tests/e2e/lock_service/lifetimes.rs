//! Locks outlive the worker, the configuration and the machine that they were taken by.

use e2e::{Plan, Redis, wait_until};
use serde_json::json;

use super::{Bed, STORES, Store, code, shared_plan, some};

#[test]
fn a_lock_outlives_its_worker() {
    for store in STORES {
        let mut bed = Bed::with(store, 1, "", "", |plan| plan.loses_workers());
        let lock = bed.lock(json!({"request_id": "r-1"}));
        let worker = bed.gateway.nginx().worker_pids()[0];
        bed.gateway.nginx().kill_worker(worker);
        wait_until("another worker serves", || {
            let workers = bed.gateway.nginx().worker_pids();
            workers.len() == 1 && workers[0] != worker
        });
        wait_until("it is healthy", || {
            bed.get("/health")
                .try_send()
                .is_ok_and(|a| a.json()["status"] == "healthy")
        });
        assert_eq!(bed.active()[0]["lock_id"], lock["lock_id"], "{store:?}");
        assert_eq!(
            code(&bed.acquire(json!({}))),
            (429, some("no_key_available")),
            "{store:?}"
        );
        assert_eq!(
            bed.lock(json!({"request_id": "r-1"}))["lock_id"],
            lock["lock_id"]
        );
        bed.extend(&lock, 600).expect_status(200);
        bed.release(&lock).expect_status(200);
        bed.wait_free();
    }
}

#[test]
fn a_lock_outlives_a_reload() {
    for store in STORES {
        let mut bed = Bed::new(store, 1);
        let lock = bed.lock(json!({}));
        bed.gateway.reload(|plan: Plan| plan);
        wait_until("it is healthy", || {
            bed.get("/health")
                .try_send()
                .is_ok_and(|a| a.json()["status"] == "healthy")
        });
        assert_eq!(bed.active()[0]["lock_id"], lock["lock_id"], "{store:?}");
        assert_eq!(
            code(&bed.acquire(json!({}))),
            (429, some("no_key_available"))
        );
        bed.extend(&lock, 600).expect_status(200);
        bed.release(&lock).expect_status(200);
        bed.wait_free();
    }
}

/// Each of several workers may get the release of a lock that another has taken.
#[test]
fn any_worker_serves_any_lock() {
    for store in STORES {
        let bed = Bed::with(store, 1, "", "", |plan| plan.workers(4));
        wait_until("all workers are ready", || {
            let ready = |_| bed.get("/health").send().json()["status"] == "healthy";
            (0..16).all(ready)
        });
        let mut fence = 0;
        for at in 0..24 {
            let lock = bed.lock(json!({"request_id": format!("r-{at}"), "wait_ms": 10_000}));
            assert!(lock["fence"].as_u64() > Some(fence), "{store:?}");
            fence = lock["fence"].as_u64().unwrap_or_default();
            bed.extend(&lock, 600).expect_status(200);
            assert_eq!(bed.active().len(), 1);
            bed.release(&lock).expect_status(200);
        }
        bed.wait_free();
    }
}

/// The nodes keep a lock for as long as it was taken for, whatever becomes of the machine.
#[test]
fn a_lock_outlives_its_machine() {
    let nodes = Redis::group(3);
    let key = "key sk-e2e-main-0001 id=main; lease_ttl 1s;";
    let machine = |nodes: &[Redis]| {
        let gateway = shared_plan(nodes, key, "").start();
        wait_until("the nodes are up", || {
            let call = gateway.get("/health");
            call.send().json()["status"] == "healthy"
        });
        gateway
    };
    let mut bed = Bed {
        gateway: machine(&nodes),
        nodes,
    };
    let other = Bed {
        gateway: machine(&bed.nodes),
        nodes: vec![],
    };
    let lock = bed.lock(json!({"estimated_duration": 600}));
    assert_eq!(
        code(&other.acquire(json!({}))),
        (429, some("no_key_available"))
    );
    let worker = bed.gateway.nginx().worker_pids()[0];
    bed.gateway.nginx().stop_worker(worker);
    let refused = other.acquire(json!({"wait_ms": 3_000}));
    assert_eq!(code(&refused), (429, some("no_key_available")));
    let left = bed
        .nodes
        .iter()
        .map(|redis| redis.number("PTTL {main}:l:main:0"))
        .min();
    assert!(left > Some(500_000), "{left:?}");
    bed.gateway.nginx().resume_worker(worker);
    bed.release(&lock).expect_status(200);
    let lock = other.lock(json!({"wait_ms": 10_000}));
    other.release(&lock).expect_status(200);
    other.gateway.wait_held(0, 0);
}

/// Nodes that forget a lock get it again.
#[test]
fn a_lock_is_put_back_where_it_was_forgotten() {
    let mut bed = Bed::with(Store::Redlock, 1, "lease_ttl 1s;", "", |plan| plan);
    let lock = bed.lock(json!({"estimated_duration": 600}));
    bed.nodes[0].restart();
    bed.nodes[1].ask("DEL {main}:l:main:0");
    wait_until("all nodes have it again", || bed.on_nodes() == 3);
    let left = bed.nodes[0].number("PTTL {main}:l:main:0");
    assert!(left > 500_000, "{left}");
    bed.release(&lock).expect_status(200);
    bed.wait_free();
}

/// A lock that the nodes say is another's is lost, and its owner hears of it.
#[test]
fn a_lock_can_be_lost_to_somebody_else() {
    let bed = Bed::with(Store::Redlock, 1, "lease_ttl 1s;", "", |plan| plan);
    let lock = bed.lock(json!({"estimated_duration": 600, "request_id": "r-lost"}));
    for redis in &bed.nodes {
        redis.ask("SET {main}:l:main:0 0123456789abcdef0123456789abcdef PX 30000");
    }
    let log = bed.gateway.error_log();
    log.wait_for("\"event\":\"lock_lost\"");
    let text = log.text();
    let line = text.lines().find(|line| line.contains("lock_lost"));
    assert!(line.is_some_and(|line| line.contains("\"request_id\":\"r-lost\"")));
    assert_eq!(code(&bed.extend(&lock, 60)), (409, some("lock_lost")));
    assert!(bed.active().is_empty());
    assert_eq!(
        bed.release(&lock).expect_status(200).json()["status"],
        "lost"
    );
}

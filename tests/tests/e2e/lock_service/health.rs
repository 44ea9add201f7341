//! How the gateway says that it is.

use e2e::{Redis, wait_until};
use serde_json::json;

use super::{Bed, STORES, Store, shared_plan};
use crate::failover;

#[test]
fn all_is_well() {
    for store in STORES {
        let bed = Bed::new(store, 3);
        let answer = bed.gateway.get("/health").send().expect_status(200).json();
        assert_eq!(answer["status"], "healthy");
        let pool = &answer["pools"][0];
        assert_eq!((&pool["pool"], &pool["slots"]), (&json!("main"), &json!(3)));
    }
}

#[test]
fn a_group_of_servers_fails_bit_by_bit() {
    let mut bed = Bed::new(Store::Redlock, 1);
    let status = |bed: &Bed| {
        let answer = bed.gateway.get("/health").send();
        (answer.status, answer.json()["status"].clone())
    };
    bed.nodes[0].kill();
    wait_until("it is degraded", || {
        status(&bed) == (200, json!("degraded"))
    });
    let lock = bed.lock(json!({}));
    bed.nodes[1].kill();
    wait_until("it is unhealthy", || {
        status(&bed) == (503, json!("unhealthy"))
    });
    let refused = bed.extend(&lock, 600);
    assert_eq!(
        super::code(&refused),
        (503, super::some("lock_unavailable"))
    );
    assert!(refused.header("retry-after").is_some());
    bed.release(&lock).expect_status(200);
    let refused = bed.acquire(json!({"wait_ms": 1}));
    assert!([429, 503].contains(&refused.refusal().status));
    bed.gateway.wait_held(0, 0);
}

#[test]
fn what_it_is() {
    for store in STORES {
        let bed = Bed::new(store, 2);
        let info = bed.get("/system/info").send().expect_status(200).json();
        assert!(
            info["nginx"].as_str().is_some_and(|v| v.starts_with("1.")),
            "{info}"
        );
        assert!(
            info["version"].is_string() && info["uptime_seconds"].is_u64(),
            "{info}"
        );
        let pool = &info["pools"][0];
        let backend = if store == Store::Shm {
            "shm"
        } else {
            "redlock"
        };
        assert_eq!(pool["backend"], backend);
        assert_eq!(
            (&pool["keys"], &pool["slots"]),
            (&json!(["main"]), &json!(2))
        );
    }
}

/// One key revoked leaves less to spare; all of them, nothing.
#[test]
fn keys_that_are_out_count() {
    let revoked = [1, 2].map(|n| failover::key_is(n, "revoked")).concat();
    for keys in [2, 3] {
        let bed = Bed::with(Store::Shm, 1, "", "", |plan| {
            let scenario = mock_upstream::Scenario::from_toml(&format!("delay = 0\n{revoked}"));
            plan.pool("main", &failover::keys(keys))
                .scenario(scenario.expect("a scenario"))
        });
        let status = if keys == 2 { 503 } else { 200 };
        bed.gateway
            .chat()
            .token(super::TOKEN)
            .send()
            .expect_status(status);
        let health = bed.gateway.get("/health").send();
        let pool = health.json()["pools"][0].clone();
        assert_eq!(
            (&pool["keys"], &pool["keys_cooling_down"]),
            (&json!(keys), &json!(2))
        );
        if keys == 2 {
            assert_eq!(
                (health.status, &health.json()["status"]),
                (503, &json!("unhealthy"))
            );
            assert_eq!(
                super::code(&bed.acquire(json!({}))),
                (503, super::some("no_healthy_key"))
            );
        } else {
            assert_eq!(
                (health.status, &health.json()["status"]),
                (200, &json!("degraded"))
            );
            let lock = bed.lock(json!({}));
            assert_eq!(lock["key_id"], "k3", "a lock is on a key that works");
            bed.release(&lock).expect_status(200);
        }
    }
}

/// Requests that go through it fail, but keys can be leased: another gateway would do no
/// better.
#[test]
fn an_upstream_that_fails_is_named() {
    let bed = Bed::with(Store::Shm, 1, "", "", |plan| {
        plan.serves("openai main; openai_next_key off;")
            .http("openai_upstream upstream { open 1h; }")
    });
    let health = || bed.gateway.get("/health").send().expect_status(200).json();
    for _ in 0..5 {
        assert_eq!(health()["status"], "healthy");
        let call = bed.gateway.chat().token(super::TOKEN);
        let call = call.header("x-mock-status", "500");
        call.send().expect_status(500);
    }
    wait_until("it is degraded", || health()["status"] == "degraded");
    wait_until("all requests are counted", || {
        health()["pools"][0]["recent_failed"] == 5
    });
    let reported = health();
    let upstream = &reported["upstreams"][0];
    assert_eq!(
        *upstream,
        json!({"upstream": "upstream", "status": "degraded", "circuit": "open",
               "recent_attempts": 5, "recent_failed": 5})
    );
    assert_eq!(reported["pools"][0]["recent_requests"], 5);
    let findings = reported["findings"].as_array().expect("a list");
    let of = |subject: &str| {
        let mut findings = findings.iter();
        findings
            .find(|finding| finding["subject"] == subject)
            .unwrap_or_else(|| panic!("{reported}"))
    };
    let upstream = of("upstream");
    assert_eq!(upstream["name"], "upstream");
    let message = upstream["message"].as_str().expect("a message");
    assert!(message.contains("circuit of upstream is open"), "{message}");
    assert_eq!(of("pool")["name"], "main");
    assert!(!reported.to_string().contains("sk-e2e"));
}

/// Where no circuit is, as the upstream is known by a variable only.
#[test]
fn a_pool_whose_requests_fail_is_named() {
    let bed = Bed::with(Store::Shm, 1, "", "", |plan| {
        plan.proxied("set $it upstream; proxy_pass http://$it;")
    });
    for _ in 0..8 {
        let call = bed.gateway.chat().token(super::TOKEN);
        let call = call.header("x-mock-status", "502");
        call.send().expect_status(502);
    }
    wait_until("it is degraded", || {
        let reported = bed.gateway.get("/health").send().expect_status(200).json();
        reported["status"] == "degraded"
            && reported["findings"][0]["message"]
                == "8 of 8 requests of pool main failed in the last minute."
    });
}

/// They answer, but no lock can be had: a load balancer has to know, though it sends no
/// requests here then.
#[test]
fn servers_that_answer_errors_do_not_vote() {
    let bed = Bed::new(Store::Redlock, 1);
    let health = || {
        let answer = bed.gateway.get("/health").send();
        let reported = answer.json();
        let nodes = reported["pools"][0]["nodes"].clone();
        (answer.status, reported["status"].clone(), nodes)
    };
    let voting = || {
        let metrics = bed.get("/metrics").send().expect_status(200);
        let text = metrics.text();
        let lines = text.lines();
        lines
            .filter_map(|line| line.strip_prefix("openai_redlock_nodes_voting{pool=\"main\"} "))
            .collect::<String>()
    };
    bed.nodes[0].ask("CONFIG SET maxmemory 1");
    wait_until("it is degraded", || {
        let nodes = json!(["failing", "up", "up"]);
        health() == (200, json!("degraded"), nodes)
    });
    assert_eq!(voting(), "2");
    let reported = bed.gateway.get("/v1/status").token(super::ADMIN).send();
    assert_eq!(reported.json()["pools"][0]["nodes"][0]["error"], "OOM");
    bed.nodes[1].ask("CONFIG SET maxmemory 1");
    wait_until("it is unhealthy", || {
        let nodes = json!(["failing", "failing", "up"]);
        health() == (503, json!("unhealthy"), nodes)
    });
    let refused = bed.acquire(json!({"wait_ms": 1}));
    assert!([429, 503].contains(&refused.refusal().status));
    bed.nodes[0].ask("CONFIG SET maxmemory 0");
    bed.nodes[1].ask("CONFIG SET maxmemory 0");
    wait_until("it is healthy", || health().0 == 200);
    let lock = bed.lock(json!({}));
    bed.release(&lock).expect_status(200);
    bed.wait_free();
}

/// A lock that another machine may have as well is none.
#[test]
fn there_is_no_lock_without_a_majority() {
    let mut nodes = Redis::group(3);
    let pool = "key sk-e2e-main-0001 id=main;";
    let plan = shared_plan(&nodes, pool, "");
    let gateway = plan
        .pool("main", &format!("{pool} store group fallback=shm;"))
        .start();
    nodes[0].kill();
    nodes[1].kill();
    let bed = Bed { gateway, nodes };
    wait_until("requests have leases of this machine only", || {
        let answer = bed.gateway.chat().token(super::TOKEN).send();
        answer.status == 200 && bed.gateway.access_log().contains("fallback")
    });
    let refused = bed.acquire(json!({"wait_ms": 1_000}));
    assert_eq!(
        super::code(&refused),
        (503, super::some("lock_unavailable"))
    );
    let health = bed.gateway.get("/health").send().expect_status(200).json();
    assert_eq!(health["status"], "degraded");
}

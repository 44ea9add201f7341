//! What services say they have done with their locks.

use e2e::{Answer, wait_for};
use serde_json::{Value, json};

use super::{ADMIN, Bed, STORES, TOKEN};

fn release(bed: &Bed, lock: &Value, stats: Value) -> Answer {
    let body =
        json!({"lock_id": lock["lock_id"], "service_name": "labeling", "usage_stats": stats});
    bed.call("/v1/lock/release", TOKEN, &body).send()
}

/// The value of a line of `/metrics`.
fn metric(bed: &Bed, series: &str) -> Option<f64> {
    let text = bed
        .gateway
        .get("/metrics")
        .token(ADMIN)
        .send()
        .expect_status(200);
    let mut lines = text.text().lines().filter_map(|line| line.rsplit_once(' '));
    let found = lines.find(|(name, _)| *name == series);
    found.and_then(|(_, value)| value.parse().ok())
}

#[test]
fn what_a_release_reports_counts_once() {
    for store in STORES {
        let bed = Bed::new(store, 1);
        let lock = bed.lock(json!({}));
        let stats = json!({"success": true, "actual_duration": 280, "tokens_used": 150,
                           "error_message": null});
        for _ in 0..2 {
            release(&bed, &lock, stats.clone()).expect_status(200);
        }
        // The nodes may not have given the slot back yet.
        let lock = bed.lock(json!({"wait_ms": 10_000}));
        let stats = json!({"success": false, "tokens_used": 7,
                           "error_message": "Incorrect API key provided: sk-e2e-main-0001"});
        release(&bed, &lock, stats).expect_status(200);

        let stats = wait_for("both are counted", || {
            let stats = bed.get("/v1/stats").send().expect_status(200).json();
            (stats["total"]["requests"] == 2).then_some(stats)
        });
        assert_eq!(stats["total_tokens"], 157);
        assert_eq!(stats["total"]["tokens"]["total"], 157);
        assert_eq!(stats["total"]["outcomes"]["success"], 1);
        assert_eq!(stats["total"]["outcomes"]["upstream_error"], 1);
        assert_eq!(stats["services"][0]["service"], "labeling");
        for (series, expected) in [
            ("openai_tokens_used_total{model=\"\"}", 157.0),
            (
                "openai_service_failed_locks_total{service=\"labeling\"}",
                1.0,
            ),
            (
                "openai_key_tokens_total{pool=\"main\",key=\"main\",kind=\"prompt\"}",
                157.0,
            ),
        ] {
            assert_eq!(metric(&bed, series), Some(expected), "{series}");
        }
        let log = bed.gateway.error_log();
        log.wait_for("\"error_message\":\"Incorrect API key provided: ");
        assert!(log.text().contains("\"tokens_used\":150"));
        assert!(!log.text().contains("sk-e2e-main-0001"));
    }
}

#[test]
fn the_usage_of_a_lock_that_has_ended_by_itself_counts_too() {
    let bed = Bed::new(super::Store::Shm, 1);
    let lock = bed.lock(json!({"estimated_duration": 1}));
    wait_for("the lock has ended", || {
        bed.active().is_empty().then_some(())
    });
    let answer = release(&bed, &lock, json!({"tokens_used": 40})).expect_status(200);
    assert_eq!(answer.json()["status"], "expired");
    release(&bed, &lock, json!({"tokens_used": 40})).expect_status(200);
    assert_eq!(bed.get("/v1/stats").send().json()["total_tokens"], 40);
}

#[test]
fn tokens_of_locks_use_up_a_quota() {
    let bed = Bed::with(super::Store::Shm, 1, "", "", |plan| {
        plan.clients(
            "client labeling env:SERVICE_TOKEN;
             client batch env:OTHER_TOKEN;
             client ops env:ADMIN_TOKEN role=admin;
             quota labeling tokens=100/day;",
        )
    });
    let lock = bed.lock(json!({}));
    release(&bed, &lock, json!({"tokens_used": 100})).expect_status(200);
    let refusal = bed.acquire(json!({})).refusal();
    assert_eq!(
        (refusal.status, refusal.code.as_deref()),
        (429, Some("insufficient_quota"))
    );
}

#[test]
fn a_lock_that_failed_is_one_request_of_a_quota() {
    let bed = Bed::with(super::Store::Shm, 1, "", "", |plan| {
        plan.clients(
            "client labeling env:SERVICE_TOKEN;
             client batch env:OTHER_TOKEN;
             client ops env:ADMIN_TOKEN role=admin;
             quota labeling requests=2/day;",
        )
    });
    for locks in 1..=2 {
        let lock = bed.lock(json!({}));
        release(&bed, &lock, json!({"success": false})).expect_status(200);
        wait_for("the lock is counted", || {
            let total = &bed.get("/v1/stats").send().expect_status(200).json()["total"];
            let failed = &total["outcomes"]["upstream_error"];
            (total["requests"] == locks && *failed == locks).then_some(())
        });
    }
    let refusal = bed.acquire(json!({})).refusal();
    assert_eq!(
        (refusal.status, refusal.code.as_deref()),
        (429, Some("insufficient_quota"))
    );
}

#[test]
fn clients_are_counted_that_have_been_seen() {
    let bed = Bed::new(super::Store::Shm, 1);
    let active = |expected: f64| {
        wait_for(&format!("{expected} clients"), || {
            (metric(&bed, "active_users") == Some(expected)).then_some(())
        });
    };
    // The administrator asks.
    active(1.0);
    bed.gateway.chat().token(TOKEN).send().expect_status(200);
    active(2.0);
    bed.gateway.chat().token("nobody's").send();
    let lock = bed.lock(json!({}));
    bed.release(&lock).expect_status(200);
    active(2.0);
    let requests = |status: u16| {
        let labels = format!("endpoint=\"/v1/chat/completions\",status=\"{status}\"");
        metric(&bed, &format!("api_requests_total{{{labels}}}"))
    };
    assert_eq!((requests(200), requests(401)), (Some(1.0), Some(1.0)));
}

#[test]
fn a_request_that_gets_no_lock_is_counted_by_its_cause() {
    let bed = Bed::new(super::Store::Shm, 1);
    let lock = bed.lock(json!({}));
    let refused = bed.acquire(json!({"wait_ms": 0, "request_id": "another"}));
    assert_eq!(refused.status, 429);
    let stats = wait_for("both are counted", || {
        let stats = bed.get("/v1/stats").send().expect_status(200).json();
        (stats["total"]["requests"] == 2).then_some(stats)
    });
    assert_eq!(stats["total"]["outcomes"]["success"], 1);
    assert_eq!(stats["total"]["outcomes"]["no_key"], 1);
    release(&bed, &lock, json!({"success": true})).expect_status(200);
}

//! What administrators can do.

use serde_json::json;

use super::{Bed, OTHER, STORES, Store, TOKEN, code, some};
use crate::reload;
use e2e::{Call, RawUpstream, wait_until};

#[test]
fn force_release_ends_somebodys_lock() {
    for store in STORES {
        let bed = Bed::new(store, 1);
        let lock = bed.lock(json!({"estimated_duration": 600, "dimension": "c_role"}));
        let waiter = bed.call(
            "/v1/lock/acquire",
            OTHER,
            &json!({"service_name": "patient", "wait_ms": 30_000}),
        );
        let waiter = waiter.spawn();
        bed.gateway.wait_held(1, 1);
        let freed = bed.force_release(&lock).expect_status(200).json();
        assert_eq!(
            (&freed["released"], &freed["status"]),
            (&json!(true), &json!("force_released"))
        );
        assert_eq!(freed["lock"]["service_name"], "labeling");
        assert_eq!(freed["lock"]["key_id"], "main");
        assert_eq!(freed["lock"]["context"]["dimension"], "c_role");
        let next = waiter.join().expect("an answer").expect_status(200).json();
        // The one that had it learns of it, and cannot take it back.
        assert_eq!(
            code(&bed.extend(&lock, 60)),
            (409, some("lock_force_released"))
        );
        let late = bed.release(&lock).expect_status(200).json();
        assert_eq!(late["status"], "force_released");
        let again = bed.force_release(&lock).expect_status(200).json();
        assert_eq!(again["released"], false);
        assert_eq!(bed.active().len(), 1);
        bed.gateway
            .error_log()
            .wait_for("\"action\":\"force_release\"");
        let text = bed.gateway.error_log().text();
        let line = text
            .lines()
            .find(|line| line.contains("force_release"))
            .expect("a line");
        for word in [
            "\"event\":\"audit\"",
            "\"admin\":\"ops\"",
            lock["lock_id"].as_str().unwrap(),
        ] {
            assert!(line.contains(word), "{word}: {line}");
        }
        let body = json!({"lock_id": next["lock_info"]["lock_id"], "service_name": "patient"});
        bed.call("/v1/lock/release", OTHER, &body)
            .send()
            .expect_status(200);
        bed.wait_free();
    }
}

#[test]
fn clean_up_says_what_had_expired() {
    for store in STORES {
        let bed = Bed::new(store, 2);
        let short = bed.lock(json!({"estimated_duration": 3}));
        let long = bed.lock(json!({"estimated_duration": 600}));
        assert_eq!(bed.clean_up().expect_status(200).json()["cleaned"], 0);
        wait_until("it has expired", || bed.active().len() == 1);
        let cleaned = bed.clean_up().expect_status(200).json();
        assert_eq!(cleaned["cleaned"], 1);
        assert_eq!(cleaned["lock_ids"], json!([short["lock_id"]]));
        assert_eq!(bed.clean_up().json()["cleaned"], 0);
        assert_eq!(
            code(&bed.release(&short)),
            (404, some("lock_not_found")),
            "it is forgotten"
        );
        bed.gateway
            .error_log()
            .wait_for("\"action\":\"cleanup_expired\"");
        bed.release(&long).expect_status(200);
        bed.wait_free();
    }
}

#[test]
fn a_service_may_not() {
    let bed = Bed::new(Store::Shm, 1);
    let lock = bed.lock(json!({}));
    let id = lock["lock_id"].as_str().expect("a name");
    let url = bed.gateway.url(&format!("/v1/locks/{id}/force-release"));
    let refused = Call::new("DELETE", &url).token(TOKEN).send();
    assert_eq!(code(&refused), (403, some("admin_required")));
    let refused = bed
        .call("/v1/maintenance/cleanup-expired", TOKEN, &json!({}))
        .send();
    assert_eq!(code(&refused), (403, some("admin_required")));
    assert_eq!(Call::new("DELETE", &url).send().refusal().status, 401);
    assert_eq!(bed.active().len(), 1);
    bed.release(&lock).expect_status(200);
}

/// A request under way is no lock: it ends with its client.
#[test]
fn the_lease_of_a_request_is_left_alone() {
    let upstream = RawUpstream::bind();
    let bed = Bed::with(Store::Shm, 1, "", "", |plan| {
        plan.upstream(upstream.address())
    });
    let stream = bed.stream(TOKEN, &upstream);
    let held = bed.active();
    assert_eq!(
        code(&bed.force_release(&held[0])),
        (409, some("held_by_request"))
    );
    assert_eq!(code(&bed.release(&held[0])), (404, some("lock_not_found")));
    reload::end(stream);
    bed.wait_free();
}

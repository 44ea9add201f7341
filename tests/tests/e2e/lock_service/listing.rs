//! Who holds what.

use e2e::RawUpstream;
use serde_json::json;

use super::{Bed, OTHER, STORES, Store, TOKEN, is_same_time};
use crate::reload;

#[test]
fn a_listing_shows_locks_and_requests() {
    for store in STORES {
        let upstream = RawUpstream::bind();
        let bed = Bed::with(store, 2, "", "", |plan| plan.upstream(upstream.address()));
        assert!(bed.active().is_empty());
        let lock = bed.lock(json!({"request_id": "r-1", "dimension": "c_role",
            "content_type": "candidate", "template": "t-7", "team": "blue",
            "nested": {"is": "ignored"}, "number": 7}));
        let stream = bed.stream(OTHER, &upstream);
        let active = bed.active();
        let of = |kind: &str| {
            let found = active.iter().find(|held| held["kind"] == kind);
            found
                .unwrap_or_else(|| panic!("no {kind}: {active:?}"))
                .clone()
        };
        let listed = of("lock");
        for field in ["lock_id", "fence", "slot", "key_id", "pool"] {
            assert_eq!(listed[field], lock[field], "{field}");
        }
        for time in ["acquired_at", "expires_at"] {
            assert!(is_same_time(&listed[time], &lock[time]), "{listed}: {lock}");
        }
        assert_eq!(listed["service_name"], "labeling");
        assert_eq!(
            (&listed["client"], &listed["request_id"]),
            (&json!("labeling"), &json!("r-1"))
        );
        let context = json!({"dimension": "c_role", "content_type": "candidate",
                             "template": "t-7", "team": "blue"});
        assert_eq!(
            (&listed["context"], &listed["context_truncated"]),
            (&context, &json!(false))
        );
        let request = of("request");
        assert_eq!(
            (&request["service_name"], &request["key_id"]),
            (&json!("batch"), &json!("main"))
        );
        assert_ne!(request["slot"], listed["slot"]);
        reload::end(stream);
        bed.release(&lock).expect_status(200);
        bed.wait_free();
        assert!(bed.active().is_empty());
    }
}

/// What a service says of its lock takes no more room than there is.
#[test]
fn context_is_shortened() {
    let bed = Bed::new(Store::Shm, 1);
    let mut asked = json!({"template": "x".repeat(5_000), "dimension": "\u{e4}\u{1f600}\u{0}<b>"});
    for at in 0..40 {
        asked[format!("field-{at}")] = json!("y".repeat(50));
    }
    let lock = bed.lock(asked);
    let listed = &bed.active()[0];
    assert_eq!(listed["context_truncated"], true);
    assert_eq!(listed["context"]["dimension"], "\u{e4}\u{1f600}\u{0}<b>");
    assert_eq!(listed["context"]["template"], "x".repeat(256));
    let context = listed["context"].to_string();
    assert!(context.len() <= 1_024, "{context}");
    bed.release(&lock).expect_status(200);
}

/// A listing names keys by their ids, and reports no token.
#[test]
fn no_secret_is_reported() {
    let bed = Bed::new(Store::Shm, 1);
    let lock = bed.lock(json!({}));
    for path in [
        "/v1/locks/active",
        "/system/info",
        "/health",
        "/docs",
        "/openapi.json",
    ] {
        let answer = bed.get(path).send().expect_status(200);
        for secret in ["sk-e2e", TOKEN] {
            assert!(!answer.text().contains(secret), "{path}");
        }
    }
    bed.release(&lock).expect_status(200);
    assert!(!bed.gateway.error_log().text().contains("sk-e2e"));
}

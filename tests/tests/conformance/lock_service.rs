//! The lock service: its paths, what they take, and what they answer with.

use e2e::Call;
use serde_json::{Value, json};

use crate::bed::{Bed, Config, KEYS, SERVICE};
use crate::case::{As, Case, check};
use crate::shape::assert_shape;

on_each_configuration!(
    a_lock_is_taken_and_given_back,
    context_is_kept_and_listed,
    an_administrator_ends_a_lock,
    what_has_expired_is_cleaned_up,
    a_wrong_body_is_reported,
    priority_is_honoured_by_the_queue,
);

pub fn acquire() -> Value {
    json!({
        "service_name": "labeling-service",
        "resource_type": "openai_api",
        "dimension": "c_role",
        "content_type": "candidate",
        "estimated_duration": 300,
        "request_id": "uuid-here",
    })
}

fn acquired() -> Value {
    json!({
        "success": true,
        "lock_info": {
            "lock_id": "<text>",
            "api_key": "<key>",
            "acquired_at": "<time>",
            "expires_at": "<time>",
            "request_id": "uuid-here",
            "status": "acquired",
        },
        "timestamp": "<time>",
    })
}

fn a_lock_is_taken_and_given_back(config: Config) {
    let bed = Bed::start(config);
    let answer = bed.post("/v1/lock/acquire", &acquire()).expect_status(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_shape("acquire", &acquired(), &answer.json());
    let lock = &answer.json()["lock_info"];
    let key = lock["api_key"].as_str().expect("a key");
    assert!(KEYS.contains(&key), "one of the pool's keys");
    assert_eq!(
        seconds_between(&lock["acquired_at"], &lock["expires_at"]),
        300
    );

    let usage =
        json!({"success": true, "actual_duration": 280, "tokens_used": 150, "error_message": null});
    let release = json!({"lock_id": lock["lock_id"], "service_name": "labeling-service", "usage_stats": usage});
    let answer = bed.post("/v1/lock/release", &release).expect_status(200);
    assert_shape(
        "release",
        &json!({"success": true, "timestamp": "<time>"}),
        &answer.json(),
    );
    bed.wait_free();

    // A lock without what may be left out.
    let least = json!({"service_name": "labeling-service", "resource_type": "openai_api"});
    let answer = bed
        .post("/v1/lock/acquire", &least)
        .expect_status(200)
        .json();
    assert_shape(
        "acquire",
        &json!({"success": true, "lock_info": {"lock_id": "<text>",
        "acquired_at": "<time>", "expires_at": "<time>", "request_id": "<any>", "status": "acquired"}}),
        &answer,
    );
    let release =
        json!({"lock_id": answer["lock_info"]["lock_id"], "service_name": "labeling-service"});
    bed.post("/v1/lock/release", &release).expect_status(200);
    bed.end();
}

/// Of two moments of the same day or the next.
#[track_caller]
fn seconds_between(from: &Value, to: &Value) -> i64 {
    let second = |value: &Value| -> i64 {
        let text = value.as_str().expect("a time");
        let field = |at: usize| text[at..at + 2].parse::<i64>().expect("digits");
        field(11) * 3_600 + field(14) * 60 + field(17)
    };
    (second(to) - second(from)).rem_euclid(86_400)
}

fn context_is_kept_and_listed(config: Config) {
    let bed = Bed::start(config);
    let lock = bed.lock(
        json!({"request_id": "r-7", "dimension": "c_role", "content_type": "candidate",
        "template": "t-3", "anything": "else", "number": 7}),
    );
    let listed = bed.get_as_admin("/v1/locks/active").json();
    let shape = json!({
        "count": 1,
        "locks": [{
            "lock_id": lock["lock_id"],
            "service_name": "labeling",
            "request_id": "r-7",
            "acquired_at": lock["acquired_at"],
            "expires_at": lock["expires_at"],
            "context": {
                "dimension": "c_role",
                "content_type": "candidate",
                "template": "t-3",
                "anything": "else",
            },
        }],
        "timestamp": "<time>",
    });
    assert_shape("/v1/locks/active", &shape, &listed);
    // The service sees its own.
    let own = bed
        .call("GET", "/v1/locks/active")
        .token(SERVICE)
        .send()
        .expect_status(200);
    assert_shape("/v1/locks/active", &shape, &own.json());
    bed.release(&lock, json!({}));
    bed.end();
}

fn an_administrator_ends_a_lock(config: Config) {
    let bed = Bed::start(config);
    let lock = bed.lock(json!({}));
    let id = lock["lock_id"].as_str().expect("an id");
    let ended = json!({"success": true, "timestamp": "<time>"});
    let force = Case::new("DELETE", format!("/v1/locks/{id}/force-release")).by(As::Admin);
    check(&bed, &[force.shape(ended)]);
    // Its owner hears of it, and the slot is free.
    let answer = bed.release(&lock, json!({}));
    assert_shape(
        "release",
        &json!({"success": true, "status": "force_released"}),
        &answer,
    );
    let unknown = Case::new(
        "DELETE",
        "/v1/locks/00000000000000000000000000000000/force-release",
    );
    check(
        &bed,
        &[unknown
            .by(As::Admin)
            .error(404, "invalid_request_error", "lock_not_found")
            .about("lock_id")],
    );
    bed.wait_gauge("held", 0);
    bed.end();
}

fn what_has_expired_is_cleaned_up(config: Config) {
    let bed = Bed::start(config);
    let lock = bed.lock(json!({"estimated_duration": 1}));
    bed.wait_gauge("held", 0);
    let clean = || {
        let call = Call::json(bed.url("/v1/maintenance/cleanup-expired"), "");
        call.token(crate::bed::ADMIN)
            .send()
            .expect_status(200)
            .json()
    };
    let answer = clean();
    assert_shape(
        "cleanup",
        &json!({"success": true, "timestamp": "<time>"}),
        &answer,
    );
    assert!(
        answer
            .to_string()
            .contains(lock["lock_id"].as_str().expect("an id")),
        "{answer}"
    );
    assert!(
        !clean()
            .to_string()
            .contains(lock["lock_id"].as_str().expect("an id")),
        "once"
    );
    bed.end();
}

fn a_wrong_body_is_reported(config: Config) {
    let bed = Bed::start(config);
    let acquire = |body: Value| Case::post("/v1/lock/acquire", body).by(As::Service);
    let named = |field: &str, value: Value| {
        let mut body = json!({"service_name": "labeling", "resource_type": "openai_api"});
        body[field] = value;
        body
    };
    let invalid = "invalid_request_error";
    let unknown =
        json!({"lock_id": "00000000000000000000000000000000", "service_name": "labeling"});
    check(
        &bed,
        &[
            Case::post("/v1/lock/acquire", "no JSON")
                .by(As::Service)
                .error(400, invalid, None),
            acquire(json!({}))
                .error(422, invalid, "missing_required_parameter")
                .about("service_name"),
            acquire(named("service_name", json!(7)))
                .error(422, invalid, "invalid_type")
                .about("service_name"),
            acquire(named("resource_type", json!("gpu")))
                .error(422, invalid, "invalid_value")
                .about("resource_type"),
            acquire(named("estimated_duration", json!(-1)))
                .error(422, invalid, "invalid_value")
                .about("estimated_duration"),
            acquire(named("priority", json!(1_001)))
                .error(422, invalid, "invalid_value")
                .about("priority"),
            Case::post("/v1/lock/release", &unknown)
                .by(As::Service)
                .error(404, invalid, "lock_not_found")
                .about("lock_id"),
            Case::get("/v1/lock/acquire")
                .by(As::Service)
                .error(405, invalid, None)
                .answers("allow", "POST"),
        ],
    );
    // Another's lock.
    let lock = bed.lock(json!({}));
    let others = json!({"lock_id": lock["lock_id"], "service_name": "other"});
    let case = Case::post("/v1/lock/release", others).by(As::Service);
    check(&bed, &[case.error(403, invalid, "not_lock_owner")]);
    bed.release(&lock, json!({}));
    bed.end();
}

fn priority_is_honoured_by_the_queue(config: Config) {
    let bed = Bed::start(config);
    let held: Vec<Value> = (0..3)
        .map(|n| bed.lock(json!({"request_id": format!("h{n}")})))
        .collect();
    let refused = Case::post("/v1/lock/acquire", acquire()).by(As::Service);
    let refused = refused.error(429, "rate_limit_exceeded", "no_key_available");
    check(&bed, &[refused.answers("retry-after", "<seconds>")]);
    let waiter = |name: &str, priority: i64| {
        let body = json!({"service_name": "labeling", "resource_type": "openai_api", "wait_ms": 25_000,
            "request_id": name, "priority": priority});
        Call::json(bed.url("/v1/lock/acquire"), body.to_string())
            .token(SERVICE)
            .spawn()
    };
    let low = waiter("low", -5);
    bed.wait_gauge("waiting", 1);
    let high = waiter("high", 5);
    bed.wait_gauge("waiting", 2);
    bed.release(&held[0], json!({}));
    let high = high.join().expect("an answer").expect_status(200).json();
    assert_eq!(high["lock_info"]["request_id"], "high");
    assert!(!low.is_finished(), "who has the lower priority waits on");
    bed.release(&high["lock_info"], json!({}));
    let low = low.join().expect("an answer").expect_status(200).json();
    for lock in [&low["lock_info"], &held[1], &held[2]] {
        bed.release(lock, json!({}));
    }
    bed.end();
}

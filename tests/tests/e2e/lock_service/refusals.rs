//! What is asked wrongly, or by the wrong one.

use e2e::{Call, Plan, Refusal};
use serde_json::{Value, json};

use super::{ADMIN, Bed, OTHER, STORES, Store, TOKEN, code, some};

pub const PATHS: [(&str, &str, &str); 11] = [
    ("POST", "/v1/lock/acquire", "POST"),
    ("POST", "/v1/lock/release", "POST"),
    ("POST", "/v1/lock/extend", "POST"),
    ("GET", "/v1/locks/active", "GET, HEAD"),
    (
        "DELETE",
        "/v1/locks/0123456789abcdef0123456789abcdef/force-release",
        "DELETE",
    ),
    ("POST", "/v1/maintenance/cleanup-expired", "POST"),
    ("GET", "/system/info", "GET, HEAD"),
    ("GET", "/openapi.json", "GET, HEAD"),
    ("GET", "/metrics", "GET, HEAD"),
    ("GET", "/v1/stats", "GET, HEAD"),
    ("GET", "/", "GET, HEAD"),
];

#[test]
fn every_path_but_health_and_the_pages_wants_a_token() {
    let bed = Bed::new(Store::Shm, 1);
    for (method, path, _) in PATHS {
        let call = Call::new(method, bed.gateway.url(path)).body("{}");
        assert_eq!(call.send().refusal(), Refusal::invalid_api_key(), "{path}");
        let wrong = call.clone().token("wrong-token").send();
        assert_eq!(wrong.refusal(), Refusal::invalid_api_key(), "{path}");
        // The other header does as well.
        let answer = call.header("x-service-token", ADMIN).send();
        assert_ne!(answer.status, 401, "{path}");
    }
    for path in ["/health", "/status", "/docs", "/redoc"] {
        bed.gateway.get(path).send().expect_status(200);
    }
}

#[test]
fn other_methods_are_refused() {
    let bed = Bed::new(Store::Shm, 1);
    for (_, path, allow) in PATHS {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            if allow.split(", ").any(|allowed| allowed == method) {
                continue;
            }
            let answer = Call::new(method, bed.gateway.url(path)).token(ADMIN).send();
            assert_eq!(answer.refusal().status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
    }
    let answer = Call::new("HEAD", bed.gateway.url("/docs"))
        .token(TOKEN)
        .send();
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[test]
fn unknown_paths_are_not_found() {
    let bed = Bed::new(Store::Shm, 1);
    for path in [
        "/v1/lock/",
        "/v1/lock/acquire/",
        "/v1/lock/acquire/x",
        "/v1/lock/steal",
        "/v1/locks/",
        "/v1/locks/x",
        "/v1/locks//force-release",
        "/v1/locks/a/b/force-release",
        "/v1/maintenance/",
        "/v1/lock/%ff%fe",
    ] {
        let answer = bed.get(path).send();
        assert_eq!(answer.refusal().status, 404, "{path}");
    }
    for id in [
        "x",
        "0",
        "ABCDEFABCDEFABCDEFABCDEFABCDEFAB",
        "'; DROP TABLE locks; --",
    ] {
        let id = id.replace(' ', "%20");
        let url = bed.gateway.url(&format!("/v1/locks/{id}/force-release"));
        let answer = Call::new("DELETE", url).token(ADMIN).send();
        assert_eq!(answer.refusal().status, 404, "{id}");
    }
}

/// What is wrong with a body: status, code, and the field.
#[track_caller]
fn refused(bed: &Bed, path: &str, body: &str) -> (u16, Option<String>, Option<String>) {
    let answer = Call::json(bed.gateway.url(path), body).token(TOKEN).send();
    let refusal = answer.refusal();
    assert_eq!(refusal.kind, "invalid_request_error", "{body}");
    (refusal.status, refusal.code, refusal.param)
}

#[test]
fn the_wrong_field_is_named() {
    let bed = Bed::new(Store::Shm, 1);
    let long = "x".repeat(65);
    let longer = "x".repeat(129);
    let missing = "missing_required_parameter";
    let (kind, value) = ("invalid_type", "invalid_value");
    let acquire = "/v1/lock/acquire";
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        (acquire, json!({}), "service_name", missing),
        (acquire, json!({"service_name": 7}), "service_name", kind),
        (acquire, json!({"service_name": null}), "service_name", kind),
        (acquire, json!({"service_name": ""}), "service_name", value),
        (
            acquire,
            json!({"service_name": "a\nb"}),
            "service_name",
            value,
        ),
        (
            acquire,
            json!({"service_name": "\u{e4}"}),
            "service_name",
            value,
        ),
        (
            acquire,
            json!({"service_name": long}),
            "service_name",
            value,
        ),
        (
            acquire,
            json!({"service_name": "a", "request_id": longer}),
            "request_id",
            value,
        ),
        (
            acquire,
            json!({"service_name": "a", "request_id": ["b"]}),
            "request_id",
            kind,
        ),
        (
            acquire,
            json!({"service_name": "a", "resource_type": "gpu"}),
            "resource_type",
            value,
        ),
        (
            acquire,
            json!({"service_name": "a", "estimated_duration": 0}),
            "estimated_duration",
            value,
        ),
        (
            acquire,
            json!({"service_name": "a", "estimated_duration": -5}),
            "estimated_duration",
            value,
        ),
        (
            acquire,
            json!({"service_name": "a", "estimated_duration": 1.5}),
            "estimated_duration",
            kind,
        ),
        (
            acquire,
            json!({"service_name": "a", "estimated_duration": "300"}),
            "estimated_duration",
            kind,
        ),
        (
            acquire,
            json!({"service_name": "a", "estimated_duration": 1e300}),
            "estimated_duration",
            value,
        ),
        (
            acquire,
            json!({"service_name": "a", "priority": 1001}),
            "priority",
            value,
        ),
        (
            acquire,
            json!({"service_name": "a", "priority": "high"}),
            "priority",
            kind,
        ),
        (
            acquire,
            json!({"service_name": "a", "wait_ms": -1}),
            "wait_ms",
            value,
        ),
        (
            acquire,
            json!({"service_name": "a", "wait_ms": true}),
            "wait_ms",
            kind,
        ),
        ("/v1/lock/release", json!({}), "lock_id", missing),
        (
            "/v1/lock/release",
            json!({"lock_id": "x"}),
            "service_name",
            missing,
        ),
        (
            "/v1/lock/release",
            json!({"lock_id": 5, "service_name": "a"}),
            "lock_id",
            kind,
        ),
        (
            "/v1/lock/release",
            json!({"lock_id": "x", "service_name": "a", "usage_stats": []}),
            "usage_stats",
            kind,
        ),
        (
            "/v1/lock/release",
            json!({"lock_id": "x", "service_name": "a", "usage_stats": {"tokens_used": -1}}),
            "usage_stats.tokens_used",
            value,
        ),
        (
            "/v1/lock/release",
            json!({"lock_id": "x", "service_name": "a", "usage_stats": {"success": "yes"}}),
            "usage_stats.success",
            kind,
        ),
        (
            "/v1/lock/extend",
            json!({"service_name": "a"}),
            "lock_id",
            missing,
        ),
        (
            "/v1/lock/extend",
            json!({"lock_id": "x", "service_name": "a", "estimated_duration": 0}),
            "estimated_duration",
            value,
        ),
    ];
    for (path, body, field, code) in cases {
        let body = body.to_string();
        assert_eq!(
            refused(&bed, path, &body),
            (422, some(code), some(field)),
            "{path} {body}"
        );
    }
    let twice = r#"{"service_name":"a","service_name":"b"}"#;
    assert_eq!(
        refused(&bed, acquire, twice),
        (422, some(value), some("service_name"))
    );
    for body in ["[]", "7", "\"text\"", "null", "[\"a\"]"] {
        assert_eq!(
            refused(&bed, acquire, body),
            (422, some(kind), some("body")),
            "{body}"
        );
        assert_eq!(refused(&bed, "/v1/lock/release", body).0, 422, "{body}");
    }
    assert_eq!(bed.gateway.held("main").held, 0);
}

#[test]
fn what_is_no_json_is_a_bad_request() {
    let bed = Bed::new(Store::Shm, 1);
    let deep = "[".repeat(10_000);
    let deep = format!("{{\"service_name\":\"a\",\"x\":{deep}");
    for body in [
        "",
        "{",
        "{\"service_name\":\"a\",\"lock_id\":\"b\"} x",
        "service_name=a",
        "{'a':1}",
        "\u{0}",
        &deep,
    ] {
        for path in ["/v1/lock/acquire", "/v1/lock/release", "/v1/lock/extend"] {
            let answer = Call::json(bed.gateway.url(path), body).token(TOKEN).send();
            assert_eq!(answer.refusal().status, 400, "{path}: {body:.40}");
        }
    }
    let invalid = b"{\"service_name\":\"\xff\xfe\"}".to_vec();
    let answer = Call::json(bed.gateway.url("/v1/lock/acquire"), invalid)
        .token(TOKEN)
        .send();
    assert_eq!(answer.refusal().status, 400);
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let bed = Bed::new(Store::Shm, 1);
    let large = json!({"service_name": "a", "template": "x".repeat(70_000)}).to_string();
    let url = bed.gateway.url("/v1/lock/acquire");
    let answer = Call::json(&url, large.clone()).token(TOKEN).send();
    assert_eq!(code(&answer), (413, some("request_too_large")));
    // Of unknown length.
    let mut client = bed.gateway.connect();
    client.send(format!(
        "POST /v1/lock/acquire HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    ));
    assert!(client.read_to_end().starts_with("HTTP/1.1 413"));
}

#[test]
fn a_lock_is_its_owners() {
    for store in STORES {
        let bed = Bed::new(store, 1);
        let lock = bed.lock(json!({}));
        let of = |service: &str| json!({"lock_id": lock["lock_id"], "service_name": service});
        for path in ["/v1/lock/release", "/v1/lock/extend"] {
            // Another token, and another service with the same one.
            for (token, service) in [(OTHER, "labeling"), (TOKEN, "other"), (ADMIN, "labeling")] {
                let answer = bed.call(path, token, &of(service)).send();
                assert_eq!(
                    code(&answer),
                    (403, some("not_lock_owner")),
                    "{path} {service}"
                );
            }
        }
        for id in [
            "0123456789abcdef0123456789abcdef",
            "",
            "x",
            &"0".repeat(128),
        ] {
            let unknown = json!({"lock_id": id, "service_name": "labeling"});
            for path in ["/v1/lock/release", "/v1/lock/extend"] {
                let answer = bed.call(path, TOKEN, &unknown).send();
                assert_eq!(code(&answer), (404, some("lock_not_found")), "{path} {id}");
            }
        }
        assert_eq!(bed.active().len(), 1);
        bed.release(&lock).expect_status(200);
        assert_eq!(code(&bed.extend(&lock, 10)), (409, some("lock_released")));
        bed.wait_free();
    }
}

#[test]
fn mistakes_in_the_configuration_are_reported() {
    let clients = |plan: Plan| plan.environment("T", TOKEN).clients("client a env:T;");
    let place = |text: &str| Plan::new().server(&format!("location /x {{ {text} }}"));
    let cases = [
        (place("openai_api on;"), "openai_clients"),
        (clients(place("openai_api nobody;")), "no pool \"nobody\""),
        (clients(place("openai_api main main;")), "duplicate"),
        (
            clients(place("openai_api on; openai_lock_ttl 5s;")),
            "number of arguments",
        ),
        (
            clients(place("openai_api on; openai_lock_ttl 60s 5s;")),
            "out of range",
        ),
        (
            clients(place("openai_api on; openai_lock_ttl 0 5s;")),
            "out of range",
        ),
        (
            clients(place("openai_api on; openai_lock_key maybe;")),
            "maybe",
        ),
        (
            clients(Plan::new().server("openai_api on;")),
            "not allowed here",
        ),
    ];
    for (plan, says) in cases {
        let test = plan.check();
        assert!(!test.ok, "{says}");
        assert!(test.output.contains(says), "{says}: {}", test.output);
    }
}

use serde_json::{Value, json};

use super::ApiError;
use crate::head::Field;

const FIELDS: [Field; 5] = [
    Field::Model,
    Field::Stream,
    Field::StreamOptions,
    Field::IncludeUsage,
    Field::User,
];

fn all() -> Vec<ApiError> {
    let mut all = vec![
        ApiError::MissingToken,
        ApiError::WrongToken,
        ApiError::MalformedBody,
        ApiError::RequestTooLarge,
        ApiError::ModelNotFound,
        ApiError::QuotaPassed,
        ApiError::NoKeyAvailable { retry_after: 7 },
        ApiError::LockUnavailable { retry_after: 2 },
        ApiError::QueueFull { retry_after: 1 },
        ApiError::KeysRateLimited { retry_after: 9 },
        ApiError::NoHealthyKey { retry_after: 60 },
        ApiError::LeaseLost,
        ApiError::UpstreamUnavailable,
        ApiError::UpstreamsOpen { retry_after: 5 },
        ApiError::UpstreamTimeout,
        ApiError::Internal,
    ];
    all.extend(FIELDS.map(ApiError::WrongKind));
    all.extend((0..=700).map(ApiError::for_status));
    all
}

#[test]
fn bodies_have_openais_form_and_all_four_fields() {
    for error in all() {
        let body: Value = serde_json::from_slice(error.body()).expect("JSON");
        let wanted = json!({"error": {
            "message": error.message(),
            "type": error.kind(),
            "param": error.param(),
            "code": error.code(),
        }});
        assert_eq!(body, wanted, "{error:?}");
        assert!(!error.message().is_empty());
    }
    let body = br#"{"error":{"message":"Invalid type for 'stream': expected a boolean.","type":"invalid_request_error","param":"stream","code":null}}"#;
    assert_eq!(ApiError::WrongKind(Field::Stream).body(), body);
}

#[test]
fn frames_are_one_event_with_the_body() {
    for error in all() {
        let frame = [b"data: ", error.body(), b"\n\n"].concat();
        assert_eq!(error.sse_frame(), frame, "{error:?}");
        assert!(!error.body().contains(&b'\n'));
    }
}

#[test]
fn the_gateways_errors_are_those_that_clients_know() {
    let wait = 5;
    for (error, status, kind, code) in [
        (
            ApiError::MissingToken,
            401,
            "invalid_request_error",
            Some("invalid_api_key"),
        ),
        (
            ApiError::WrongToken,
            401,
            "invalid_request_error",
            Some("invalid_api_key"),
        ),
        (ApiError::MalformedBody, 400, "invalid_request_error", None),
        (
            ApiError::WrongKind(Field::User),
            400,
            "invalid_request_error",
            None,
        ),
        (
            ApiError::RequestTooLarge,
            413,
            "invalid_request_error",
            Some("request_too_large"),
        ),
        (
            ApiError::ModelNotFound,
            404,
            "invalid_request_error",
            Some("model_not_found"),
        ),
        (
            ApiError::NoKeyAvailable { retry_after: wait },
            429,
            "rate_limit_exceeded",
            Some("no_key_available"),
        ),
        (
            ApiError::QueueFull { retry_after: wait },
            429,
            "rate_limit_exceeded",
            Some("queue_full"),
        ),
        (
            ApiError::KeysRateLimited { retry_after: wait },
            429,
            "rate_limit_exceeded",
            Some("keys_rate_limited"),
        ),
        (
            ApiError::LockUnavailable { retry_after: wait },
            503,
            "server_error",
            Some("lock_unavailable"),
        ),
        (
            ApiError::NoHealthyKey { retry_after: wait },
            503,
            "server_error",
            Some("no_healthy_key"),
        ),
        (ApiError::LeaseLost, 503, "server_error", Some("lease_lost")),
        (
            ApiError::UpstreamUnavailable,
            502,
            "server_error",
            Some("upstream_unavailable"),
        ),
        (
            ApiError::UpstreamsOpen { retry_after: wait },
            503,
            "server_error",
            Some("upstream_unavailable"),
        ),
        (
            ApiError::UpstreamTimeout,
            504,
            "server_error",
            Some("upstream_timeout"),
        ),
        (
            ApiError::Internal,
            500,
            "server_error",
            Some("internal_error"),
        ),
    ] {
        assert_eq!(
            (error.status(), error.kind(), error.code()),
            (status, kind, code)
        );
    }
}

#[test]
fn a_wrong_kind_names_its_field() {
    for field in FIELDS {
        let error = ApiError::WrongKind(field);
        assert_eq!(error.param(), Some(field.param()));
        assert!(error.message().contains(&format!("'{}'", field.param())));
    }
    assert_eq!(ApiError::MalformedBody.param(), None);
}

#[test]
fn a_model_that_nobody_serves_is_named() {
    let body = ApiError::ModelNotFound.body_for(Some("gpt-\"9\"\n"));
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let message = "The model `gpt-\"9\"\n` does not exist or you do not have access to it.";
    let error = json!({
        "message": message,
        "type": "invalid_request_error",
        "param": null,
        "code": "model_not_found",
    });
    assert_eq!(body, json!({ "error": error }));
    for (error, model) in [
        (ApiError::ModelNotFound, None),
        (ApiError::Internal, Some("gpt-4o")),
    ] {
        assert_eq!(*error.body_for(model), *error.body());
    }
}

#[test]
fn waiting_is_advised_where_it_helps() {
    assert_eq!(
        ApiError::NoKeyAvailable { retry_after: 3 }.retry_after(),
        Some(3)
    );
    assert_eq!(
        ApiError::LockUnavailable { retry_after: 1 }.retry_after(),
        Some(1)
    );
    assert_eq!(
        ApiError::UpstreamsOpen { retry_after: 4 }.retry_after(),
        Some(4)
    );
    for error in [
        ApiError::QueueFull { retry_after: 6 },
        ApiError::KeysRateLimited { retry_after: 6 },
        ApiError::NoHealthyKey { retry_after: 6 },
    ] {
        assert_eq!(error.retry_after(), Some(6), "{error:?}");
    }
    assert_eq!(ApiError::WrongToken.retry_after(), None);
}

#[test]
fn nginxs_statuses_keep_their_number() {
    for status in (400..=493).chain(498..600) {
        assert_eq!(ApiError::for_status(status).status(), status);
    }
    for status in 494..=497 {
        assert_eq!(ApiError::for_status(status).status(), 400);
    }
    for status in [0, 200, 304, 600, u16::MAX] {
        assert_eq!(ApiError::for_status(status), ApiError::Internal);
    }
}

#[test]
fn nginxs_statuses_say_whose_fault_it_is() {
    for status in (400..429).chain(430..500) {
        assert_eq!(
            ApiError::for_status(status).kind(),
            "invalid_request_error",
            "{status}"
        );
    }
    for status in 500..600 {
        assert_eq!(
            ApiError::for_status(status).kind(),
            "server_error",
            "{status}"
        );
    }
    assert_eq!(ApiError::for_status(429).kind(), "rate_limit_exceeded");
    assert_eq!(ApiError::for_status(401).code(), Some("invalid_api_key"));
    assert_eq!(ApiError::for_status(413).code(), Some("request_too_large"));
    assert_eq!(
        ApiError::for_status(502).code(),
        Some("upstream_unavailable")
    );
    assert_eq!(ApiError::for_status(504).code(), Some("upstream_timeout"));
    for status in [400, 403, 404, 405, 408, 414, 418, 503] {
        assert_eq!(ApiError::for_status(status).code(), None, "{status}");
    }
}

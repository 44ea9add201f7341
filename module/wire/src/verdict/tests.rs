use proptest::prelude::*;

use super::*;

fn error(kind: &str, code: &str) -> Vec<u8> {
    let error = serde_json::json!({
        "error": { "message": "No \"type\": \"x\" here.", "type": kind, "param": null, "code": code }
    });
    error.to_string().into_bytes()
}

#[test]
fn answers_are_judged_by_status_type_and_code() {
    for (status, kind, code, expected) in [
        (200, "", "", Verdict::Ok),
        (101, "", "", Verdict::Ok),
        (302, "", "", Verdict::Ok),
        (
            401,
            "invalid_request_error",
            "invalid_api_key",
            Verdict::InvalidKey,
        ),
        (
            401,
            "invalid_request_error",
            "account_deactivated",
            Verdict::InvalidKey,
        ),
        (
            401,
            "invalid_request_error",
            "mismatched_organization",
            Verdict::ClientError,
        ),
        (402, "", "", Verdict::QuotaExceeded),
        (403, "permission_error", "forbidden", Verdict::InvalidKey),
        (
            403,
            "invalid_request_error",
            "model_not_found",
            Verdict::ClientError,
        ),
        (
            403,
            "request_forbidden",
            "unsupported_country_region_territory",
            Verdict::ClientError,
        ),
        (
            429,
            "insufficient_quota",
            "insufficient_quota",
            Verdict::QuotaExceeded,
        ),
        (429, "insufficient_quota", "", Verdict::QuotaExceeded),
        (429, "", "insufficient_quota", Verdict::QuotaExceeded),
        (429, "billing_not_active", "", Verdict::QuotaExceeded),
        (429, "requests", "rate_limit_exceeded", Verdict::RateLimited),
        (429, "tokens", "rate_limit_exceeded", Verdict::RateLimited),
        (
            400,
            "invalid_request_error",
            "invalid_api_key",
            Verdict::ClientError,
        ),
        (
            404,
            "invalid_request_error",
            "model_not_found",
            Verdict::ClientError,
        ),
        (408, "", "", Verdict::ClientError),
        (422, "insufficient_quota", "", Verdict::ClientError),
        (
            500,
            "server_error",
            "insufficient_quota",
            Verdict::UpstreamError,
        ),
        (502, "", "", Verdict::UpstreamError),
        (599, "", "", Verdict::UpstreamError),
    ] {
        let judged = verdict(status, &error(kind, code));
        assert_eq!(judged, expected, "{status} {kind} {code}");
    }
}

#[test]
fn without_a_body_the_status_decides() {
    for body in [&b""[..], b"<html>", b"{", b"{\"error\":\"busy\"}", b"[[["] {
        assert_eq!(verdict(401, body), Verdict::InvalidKey);
        assert_eq!(verdict(403, body), Verdict::ClientError);
        assert_eq!(verdict(429, body), Verdict::RateLimited);
        assert_eq!(verdict(503, body), Verdict::UpstreamError);
    }
}

#[test]
fn a_request_that_is_too_large_for_any_key_blames_none() {
    let body = br#"{"error":{"message":"Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 70000.","type":"tokens","code":"rate_limit_exceeded"}}"#;
    assert_eq!(verdict(429, body), Verdict::ClientError);
}

#[test]
fn what_a_key_may_not_do_does_not_cost_it() {
    let body = br#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: api.model.read.","type":"invalid_request_error","param":null,"code":null}}"#;
    for status in [401, 403] {
        assert_eq!(verdict(status, body), Verdict::ClientError);
    }
}

#[test]
fn only_the_error_object_is_read() {
    for body in [
        r#"{"code":"insufficient_quota","error":{"code":"x"}}"#,
        r#"{"error":{"inner":{"code":"insufficient_quota"},"code":"x"}}"#,
        r#"{"errors":{"code":"insufficient_quota"},"error":{"code":"x"}}"#,
        r#"{"error":{"code":"x"},"other":{"code":"insufficient_quota"}}"#,
        r#"{"error":{"message":"\"code\":\"insufficient_quota\"","code":"x"}}"#,
        r#"{"error":{"message":"\\","code":"x"}}"#,
        r#"{"error":{"code":["insufficient_quota"],"type":null,"code":"x"}}"#,
        "{ \"error\" :\n { \"code\"\t: \"x\" } }",
    ] {
        let head = ErrorHead::of(body.as_bytes());
        assert_eq!(head.code, Some(&b"x"[..]), "{body}");
        assert_eq!(head.kind, None, "{body}");
    }
}

proptest! {
    #[test]
    fn a_body_cut_short_says_what_it_has_said(cut in 0usize..200) {
        let body = error("insufficient_quota", "insufficient_quota");
        let cut = cut.min(body.len());
        let whole = |what: &[u8]| memchr::memmem::find(&body[..cut], what).is_some();
        let head = ErrorHead::of(&body[..cut]);
        prop_assert_eq!(head.kind.is_some(), whole(b"\"type\":\"insufficient_quota\""));
        prop_assert_eq!(head.code.is_some(), whole(b"\"code\":\"insufficient_quota\""));
    }

    #[test]
    fn whatever_comes_is_judged(status: u16, body: Vec<u8>) {
        let judged = verdict(status, &body);
        prop_assert_eq!(judged == Verdict::Ok, status < 400);
        prop_assert_eq!(judged == Verdict::UpstreamError, status >= 500);
        prop_assert!(depends_on_body(status) || judged == verdict(status, b""));
    }

    #[test]
    fn whatever_json_like_text_comes_is_read(body in "[\\[\\]{}\":,\\\\a error code type]{0,200}") {
        let head = ErrorHead::of(body.as_bytes());
        for text in [head.kind, head.code, head.message].into_iter().flatten() {
            prop_assert!(memchr::memmem::find(body.as_bytes(), text).is_some());
        }
    }
}

//! OpenAI's own API as clients see it: what goes upstream, and what comes back.

use e2e::{Call, Exchange, RawUpstream, wait_until};
use serde_json::Value;

use crate::bed::{Bed, COMPLETIONS, Config, KEYS, SERVICE, STREAM};

on_each_configuration!(
    requests_go_upstream_unchanged_but_for_the_key,
    answers_come_back_unchanged,
    errors_of_the_upstream_come_back_unchanged,
    a_stream_arrives_chunk_by_chunk,
    a_stream_reports_its_usage_if_asked,
    every_endpoint_of_the_api_is_reached,
);

const SENT: &str = r#"{ "model" : "gpt-4o",  "messages":[{"role":"user","content":"H\u00e4llo \ud83d\ude00"}], "x_unknown": 1e2 }"#;

/// Sends with a header field or two that clients of OpenAI send.
fn as_a_client(bed: &Bed, method: &'static str, path: &str, body: &str) -> Call {
    Call::new(method, bed.url(path))
        .token(SERVICE)
        .header("user-agent", "OpenAI/Python 3.52.0")
        .header("openai-organization", "org-of-a-client")
        .header("openai-project", "proj_of-a-client")
        .header("openai-beta", "assistants=v2")
        .header("idempotency-key", "stainless-python-retry-1")
        .header("x-stainless-lang", "python")
        .header("x-stainless-retry-count", "0")
        .header("accept", "application/json")
        .header("content-type", "application/json")
        .body(body)
}

#[track_caller]
fn assert_request(exchange: &Exchange, method: &str, path: &str, body: &str) {
    let line = exchange.head.lines().next().unwrap_or_default();
    assert_eq!(line, format!("{method} {path} HTTP/1.1"));
    assert_eq!(String::from_utf8_lossy(&exchange.body), body, "{path}");
    for (name, value) in [
        ("user-agent", "OpenAI/Python 3.52.0"),
        ("openai-organization", "org-of-a-client"),
        ("openai-project", "proj_of-a-client"),
        ("openai-beta", "assistants=v2"),
        ("idempotency-key", "stainless-python-retry-1"),
        ("x-stainless-lang", "python"),
        ("x-stainless-retry-count", "0"),
        ("accept", "application/json"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(exchange.header(name), Some(value), "{path}: {name}");
    }
    // The key in place of the token, once, and the token nowhere.
    let fields = exchange
        .head
        .lines()
        .filter(|line| line.to_ascii_lowercase().starts_with("authorization:"));
    assert_eq!(fields.count(), 1, "{path}");
    let key = exchange
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    assert!(
        key.is_some_and(|key| KEYS.contains(&key)),
        "{path}: one of the pool's keys"
    );
    assert!(
        !exchange.head.contains(SERVICE),
        "{path}: the token goes nowhere"
    );
}

fn requests_go_upstream_unchanged_but_for_the_key(config: Config) {
    let upstream = RawUpstream::bind();
    let bed = Bed::before_raw(config, &upstream, |shipped| shipped);
    for (method, path, body) in [
        ("POST", COMPLETIONS, SENT),
        ("POST", "/v1/chat/completions?api-version=1&x=a%20b+c", SENT),
        ("POST", "/v1/responses", SENT),
        ("GET", "/v1/models", ""),
        ("GET", "/v1/models/ft%3Agpt-4o%3Aorg", ""),
        ("DELETE", "/v1/files/file-1", ""),
        ("POST", "/v1/batches/batch_1/cancel", ""),
        ("GET", "/v1/of/nobody/knows?limit=20&order=asc", ""),
        ("PUT", "/v1/of/nobody/knows", "{\"a\": [1, 2.50]}"),
        ("PATCH", "/v1/%7Euser/a//b", "{\"a\": []}"),
    ] {
        let client = as_a_client(&bed, method, path, body).spawn();
        let mut exchange = upstream.accept();
        assert_request(&exchange, method, path, body);
        exchange.answer();
        let answer = client.join().expect("an answer").expect_status(200);
        assert_eq!(answer.text(), "{}");
    }
    // Not JSON, and not small: a form with a file.
    let body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n{}\r\n--b--\r\n",
        "x".repeat(100_000)
    );
    let call = Call::new("POST", bed.url("/v1/files")).token(SERVICE);
    let call = call
        .header("content-type", "multipart/form-data; boundary=b")
        .body(body.clone());
    let client = call.spawn();
    let mut exchange = upstream.accept();
    assert_eq!(
        exchange.header("content-type"),
        Some("multipart/form-data; boundary=b")
    );
    assert!(exchange.body == body.as_bytes(), "every byte of the form");
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
    bed.end();
}

/// Header fields of OpenAI's answers that clients read.
const REPORTED: [(&str, &str); 14] = [
    ("x-request-id", "req_0123456789abcdef0123456789abcdef"),
    ("openai-processing-ms", "412"),
    ("openai-version", "2020-10-01"),
    ("openai-organization", "org-of-the-key"),
    ("x-ratelimit-limit-requests", "500"),
    ("x-ratelimit-limit-tokens", "30000"),
    ("x-ratelimit-remaining-requests", "499"),
    ("x-ratelimit-remaining-tokens", "29968"),
    ("x-ratelimit-reset-requests", "120ms"),
    ("x-ratelimit-reset-tokens", "6m0s"),
    ("retry-after", "7"),
    ("retry-after-ms", "7000"),
    ("x-should-retry", "false"),
    ("x-of-tomorrow", "a b; c=\"d\""),
];

/// An answer of the upstream's, with all of these header fields.
fn answer_with(exchange: &mut Exchange, status: &str, kind: &str, body: &str) {
    let fields: String = REPORTED
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    exchange.send(format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    ));
}

#[track_caller]
fn assert_reported(answer: &e2e::Answer) {
    for (name, value) in REPORTED {
        let values: Vec<&str> = answer
            .headers
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
            .collect();
        assert_eq!(values, [value], "{name}");
    }
}

fn answers_come_back_unchanged(config: Config) {
    let upstream = RawUpstream::bind();
    let bed = Bed::before_raw(config, &upstream, |shipped| shipped);
    let body = "{ \"id\" : \"chatcmpl-1\", \"choices\":[ ], \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3} }\n";
    for (status, code, kind) in [
        ("200 OK", 200, "application/json"),
        ("201 Created", 201, "application/json"),
        ("202 Accepted", 202, "text/plain; charset=utf-8"),
        ("200 OK", 200, "audio/mpeg"),
    ] {
        let client = as_a_client(&bed, "POST", COMPLETIONS, SENT).spawn();
        answer_with(&mut upstream.accept(), status, kind, body);
        let answer = client.join().expect("an answer").expect_status(code);
        assert_eq!(answer.text(), body);
        assert_eq!(answer.header("content-type"), Some(kind));
        assert_reported(&answer);
    }
    // No body.
    let client = as_a_client(&bed, "DELETE", "/v1/files/file-1", "").spawn();
    upstream
        .accept()
        .send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_eq!(
        client.join().expect("an answer").expect_status(204).text(),
        ""
    );
    bed.end();
}

/// Errors about the request: they are the client's, and no other key could help.
fn errors_of_the_upstream_come_back_unchanged(config: Config) {
    let upstream = RawUpstream::bind();
    let bed = Bed::before_raw(config, &upstream, |shipped| shipped);
    for (status, code, kind, name) in [
        (
            "400 Bad Request",
            400,
            "invalid_request_error",
            "\"context_length_exceeded\"",
        ),
        (
            "403 Forbidden",
            403,
            "request_forbidden",
            "\"unsupported_country_region_territory\"",
        ),
        (
            "404 Not Found",
            404,
            "invalid_request_error",
            "\"model_not_found\"",
        ),
        ("409 Conflict", 409, "invalid_request_error", "null"),
        (
            "413 Payload Too Large",
            413,
            "invalid_request_error",
            "null",
        ),
        (
            "415 Unsupported Media Type",
            415,
            "invalid_request_error",
            "null",
        ),
        (
            "422 Unprocessable Entity",
            422,
            "invalid_request_error",
            "null",
        ),
    ] {
        let body = format!(
            "{{\n  \"error\": {{\"message\": \"No.\", \"type\": \"{kind}\", \"param\": null, \"code\": {name}}}\n}}\n"
        );
        let client = as_a_client(&bed, "POST", COMPLETIONS, SENT).spawn();
        answer_with(&mut upstream.accept(), status, "application/json", &body);
        let answer = client.join().expect("an answer").expect_status(code);
        assert_eq!(answer.text(), body, "{status}");
        assert_reported(&answer);
    }
    bed.end();
}

/// Each chunk is with the client before the next has been sent.
fn a_stream_arrives_chunk_by_chunk(config: Config) {
    let upstream = RawUpstream::bind();
    let bed = Bed::before_raw(config, &upstream, |shipped| shipped);
    let client = bed.chat(STREAM).spawn_events();
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("{\"n\":0}");
    let mut events = client.join().expect("a head");
    assert_eq!(events.status, 200);
    let kind = events
        .headers
        .iter()
        .find(|(name, _)| name == "content-type");
    assert_eq!(
        kind.map(|(_, kind)| kind.as_str()),
        Some("text/event-stream")
    );
    assert_eq!(events.next().as_deref(), Some("{\"n\":0}"));
    for n in 1..20 {
        let event = format!("{{\"n\":{n}}}");
        exchange.event(&event);
        assert_eq!(events.next().as_deref(), Some(event.as_str()));
    }
    exchange.end_stream();
    assert_eq!(events.next().as_deref(), Some("[DONE]"));
    assert_eq!(events.next(), None);
    bed.wait_gauge("held", 0);
    bed.end();
}

/// And nobody's usage is taken away, nor given to who has not asked.
fn a_stream_reports_its_usage_if_asked(config: Config) {
    let bed = Bed::start(config);
    let events = |body: &str| -> Vec<Value> {
        let answer = bed.chat(body).send().expect_status(200);
        let data = answer
            .text()
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).expect("JSON"))
            .collect()
    };
    let asked =
        events(r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#);
    assert_eq!(asked.len(), 6);
    let (last, chunks) = asked.split_last().expect("chunks");
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk.get("usage").is_some_and(Value::is_null))
    );
    assert_eq!(
        (&last["choices"], &last["usage"]["completion_tokens"]),
        (&serde_json::json!([]), &3.into())
    );
    let unasked = events(STREAM);
    assert_eq!(unasked.len(), 5);
    assert!(
        unasked
            .iter()
            .all(|chunk| chunk.get("usage").is_none_or(Value::is_null))
    );
    bed.end();
}

fn every_endpoint_of_the_api_is_reached(config: Config) {
    let bed = Bed::start(config);
    for (method, path, body) in [
        (
            "POST",
            "/v1/chat/completions",
            r#"{"model":"gpt-4o","messages":[]}"#,
        ),
        (
            "POST",
            "/v1/completions",
            r#"{"model":"gpt-4o","prompt":"x"}"#,
        ),
        ("POST", "/v1/responses", r#"{"model":"gpt-4o","input":"x"}"#),
        (
            "POST",
            "/v1/embeddings",
            r#"{"model":"gpt-4o","input":"x"}"#,
        ),
        ("POST", "/v1/images/generations", r#"{"prompt":"x"}"#),
        ("GET", "/v1/models", ""),
        ("GET", "/v1/files", ""),
        ("GET", "/v1/batches", ""),
        ("POST", "/v1/fine_tuning/jobs", "{}"),
        ("POST", "/v1/vector_stores", "{}"),
        ("POST", "/v1/moderations", "{}"),
        ("GET", "/v1/locksmiths", ""),
        ("GET", "/v1/statistics", ""),
    ] {
        let before = bed.mock.stats().totals.requests;
        let call = Call::new(method, bed.url(path))
            .token(SERVICE)
            .header("content-type", "application/json");
        call.body(body).send().expect_status(200);
        wait_until(&format!("{path} reaches the upstream"), || {
            bed.mock.stats().totals.requests == before + 1
        });
    }
    bed.end();
}

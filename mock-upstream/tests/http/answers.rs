//! Answers in one piece.

use crate::wire::{CHAT, connect, quick};

#[test]
fn a_json_object_that_asks_for_no_stream_gets_the_whole_text() {
    let mock = quick();
    let mut client = connect(mock.addr());
    for body in [
        r#"{"model":"gpt-4o","messages":["12345"]}"#,
        r#"{"stream":false}"#,
    ] {
        client.send("POST", CHAT, &[], body.as_bytes());
        let (head, json) = client.json();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers["content-type"], "application/json");
        assert!(head.headers.contains_key("x-request-id"));
        assert_eq!(json["object"], "chat.completion");
        assert_eq!(
            json["choices"][0]["message"]["content"],
            "powered by openai"
        );
        assert_eq!(json["choices"][0]["finish_reason"], "stop");
        let usage = &json["usage"];
        let sum = usage["prompt_tokens"]
            .as_u64()
            .zip(usage["completion_tokens"].as_u64());
        assert_eq!(
            sum.map(|(prompt, words)| prompt + words),
            usage["total_tokens"].as_u64()
        );
        assert_eq!(usage["completion_tokens"], 3);
    }
}

#[test]
fn health_and_models() {
    let mock = quick();
    let mut client = connect(mock.addr());
    client.send("GET", "/health", &[], b"");
    let (head, json) = client.json();
    assert_eq!((head.status, &json["status"]), (200, &"ok".into()));
    client.send("GET", "/v1/models", &[], b"");
    let (head, json) = client.json();
    assert_eq!((head.status, &json["object"]), (200, &"list".into()));
    let models = json["data"].as_array().expect("a list");
    assert!(models.iter().any(|model| model["id"] == "gpt-3.5-turbo"));
    assert!(models.iter().all(|model| model["object"] == "model"));
}

#[test]
fn a_path_outside_the_api_is_unknown_and_not_counted() {
    let mock = quick();
    let mut client = connect(mock.addr());
    client.send("GET", "/v2/x", &[], b"");
    let (head, json) = client.json();
    assert_eq!(
        (head.status, &json["error"]["code"]),
        (404, &"unknown_url".into())
    );
    assert_eq!(mock.stats().totals.requests, 0);
}

#[test]
fn a_head_request_is_answered_without_a_body_and_is_no_abort() {
    let mock = quick();
    let mut client = connect(mock.addr());
    for path in ["/v1/models", "/v1/files"] {
        client.send("HEAD", path, &[], b"");
        assert_eq!(client.head().status, 200);
    }
    let totals = mock.stats().totals;
    assert_eq!(
        (totals.requests, totals.in_flight, totals.aborted),
        (2, 0, 0)
    );
}

//! The stream of `POST /v1/chat/completions`.

use std::time::Duration;

use mock_upstream::Scenario;
use serde_json::Value;

use crate::wire::{CHAT, connect, quick, stalling, start};

fn event(chunk: &str) -> Value {
    let data = chunk
        .strip_prefix("data: ")
        .and_then(|rest| rest.strip_suffix("\n\n"));
    serde_json::from_str(data.expect("one event a chunk")).expect("JSON")
}

/// The stream with the parts that vary by request made constant.
fn redacted(chunks: &[String]) -> String {
    let first = event(&chunks[0]);
    let id = first["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("chatcmpl-"), "{id}");
    let created = first["created"].to_string();
    chunks
        .concat()
        .replace(&id, "ID")
        .replace(&created, "CREATED")
}

#[test]
fn is_the_same_whatever_the_body_holds() {
    let mut scenario = Scenario::new().delay(Duration::from_millis(1));
    scenario.set("fields", "minimal").expect("a setting");
    let mock = start(scenario);
    for body in [
        "",
        "no JSON",
        "[1,2]",
        "{\"stream\":tru",
        "{\"stream\":true}",
    ] {
        let mut client = connect(mock.addr());
        client.send("POST", CHAT, &[], body.as_bytes());
        assert_eq!(client.head().status, 200);
        let chunks = client.chunks();
        assert_eq!(chunks.len(), 6, "an event a chunk");
        assert!(chunks.concat().ends_with("\n\ndata: [DONE]\n\n"));
        insta::allow_duplicates! { insta::assert_snapshot!(redacted(&chunks), @r#"
        data: {"id":"ID","object":"chat.completion.chunk","created":CREATED,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}

        data: {"id":"ID","object":"chat.completion.chunk","created":CREATED,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"content":"powered "},"finish_reason":null}]}

        data: {"id":"ID","object":"chat.completion.chunk","created":CREATED,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"content":"by "},"finish_reason":null}]}

        data: {"id":"ID","object":"chat.completion.chunk","created":CREATED,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"content":"openai"},"finish_reason":null}]}

        data: {"id":"ID","object":"chat.completion.chunk","created":CREATED,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

        data: [DONE]
        "#) };
    }
}

#[test]
fn has_the_headers_of_the_real_api() {
    let mock = quick();
    let mut client = connect(mock.addr());
    let mut ids = Vec::new();
    for _ in 0..2 {
        client.ask(&[]);
        let (head, chunks) = client.whole_stream();
        assert_eq!(
            head.headers["content-type"],
            "text/event-stream; charset=utf-8"
        );
        assert_eq!(head.headers["openai-version"], "2020-10-01");
        assert!(head.headers["openai-processing-ms"].parse::<u64>().is_ok());
        let request_id = head.headers["x-request-id"].clone();
        let digits = request_id.strip_prefix("req_").expect("req_");
        assert!(
            digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
            "{digits}"
        );
        ids.push((request_id, event(&chunks[0])["id"].clone()));
    }
    assert_ne!(ids[0].0, ids[1].0);
    assert_ne!(ids[0].1, ids[1].1);
}

#[test]
fn echoes_the_model_in_every_chunk() {
    let mock = start(Scenario::new().text("a b").delay(Duration::ZERO));
    let mut client = connect(mock.addr());
    client.ask(&[("x-mock-words", "100")]);
    let (_, chunks) = client.whole_stream();
    assert_eq!(chunks.len(), 103);
    let words: Vec<Value> = chunks[..102].iter().map(|chunk| event(chunk)).collect();
    assert!(
        words
            .iter()
            .all(|word| word["model"] == "gpt-4o" && word["id"] == words[0]["id"])
    );
    let text: String = words
        .iter()
        .filter_map(|word| word["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "a b ".repeat(50).trim_end());
}

#[test]
fn leaves_in_few_pieces_when_there_is_no_delay() {
    let mock = quick();
    let mut client = connect(mock.addr());
    for (words, most) in [("3", 1), ("1000", 20)] {
        client.ask(&[("x-mock-words", words)]);
        assert_eq!(client.head().status, 200);
        let chunks = client.chunks();
        assert!((1..=most).contains(&chunks.len()), "{}", chunks.len());
        let whole = chunks.iter().all(|chunk| chunk.ends_with("\n\n"));
        assert!(whole, "no event is cut");
    }
}

#[test]
fn has_the_usage_when_asked_for() {
    let mock = quick();
    let mut client = connect(mock.addr());
    let body = r#"{"stream":true,"stream_options":{"include_usage":true},"messages":["12345"]}"#;
    client.send("POST", CHAT, &[], body.as_bytes());
    let (_, chunks) = client.whole_stream();
    assert_eq!(chunks.len(), 7);
    let events: Vec<Value> = chunks[..6].iter().map(|chunk| event(chunk)).collect();
    assert!(
        events[..5]
            .iter()
            .all(|event| event.get("usage") == Some(&Value::Null))
    );
    assert_eq!(events[5]["choices"], serde_json::json!([]));
    let usage = &events[5]["usage"];
    assert_eq!(usage["completion_tokens"], 3);
    assert_eq!(usage["prompt_tokens"], 3, "nine bytes of messages");
    assert_eq!(usage["total_tokens"], 6);
}

#[test]
fn starts_at_once_whatever_the_delay() {
    let mock = stalling();
    let mut client = connect(mock.addr());
    client.ask(&[]);
    assert_eq!(client.head().status, 200);
    for part in ["\"role\":\"assistant\"", "\"content\":\"powered \""] {
        let chunk = client.chunk().expect("a chunk").expect("not the end");
        assert!(chunk.contains(part), "{chunk}");
    }
}

#[test]
fn keeps_the_delay_between_words() {
    let mock = quick();
    let mut client = connect(mock.addr());
    let start = std::time::Instant::now();
    client.ask(&[("x-mock-delay", "20ms"), ("x-mock-words", "6")]);
    let (_, chunks) = client.whole_stream();
    assert_eq!(chunks.len(), 9);
    assert!(
        start.elapsed() >= Duration::from_millis(100),
        "five pauses between six words"
    );
}

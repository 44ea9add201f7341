//! The mock upstream, asked directly and through the gateway.

use std::time::{Duration, Instant};

use e2e::{Answer, Call};
use mock_upstream::{MockServer, Scenario};
use serde_json::{Value, json};

use crate::bed::{Bed, COMPLETIONS, Config, SERVICE};
use crate::shape::assert_shape;

on_each_configuration!(the_stream_passes_through);

/// The stream, byte for byte; `ID` and `1234567890` stand for what varies.
const STREAM: &str = concat!(
    r#"data: {"id":"ID","object":"chat.completion.chunk","created":1234567890,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"id":"ID","object":"chat.completion.chunk","created":1234567890,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"content":"powered "},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"id":"ID","object":"chat.completion.chunk","created":1234567890,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"content":"by "},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"id":"ID","object":"chat.completion.chunk","created":1234567890,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"content":"openai"},"finish_reason":null}]}"#,
    "\n\n",
    r#"data: {"id":"ID","object":"chat.completion.chunk","created":1234567890,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "\n\n",
    "data: [DONE]\n\n",
);

/// The mock with no flags.
fn mock() -> MockServer {
    MockServer::start(Scenario::new()).expect("the mock starts")
}

fn post(mock: &MockServer, body: &str) -> Answer {
    Call::json(format!("{}{COMPLETIONS}", mock.url()), body)
        .send()
        .expect_status(200)
}

/// The events of a stream: each is one line of data, and an empty line.
#[track_caller]
fn events(text: &str) -> Vec<&str> {
    assert!(text.ends_with("\n\n"), "{text:?}");
    let events: Vec<&str> = text.trim_end_matches('\n').split("\n\n").collect();
    let data = |event: &&'_ str| event.starts_with("data: ") && !event.contains('\n');
    assert!(events.iter().all(data), "{text:?}");
    events
}

/// Without the fields that the real API has beyond those that were promised.
fn promised(like: &Value, value: &Value) -> Value {
    match (like, value) {
        (Value::Object(like), Value::Object(value)) => {
            let known = like
                .iter()
                .filter_map(|(name, like)| Some((name.clone(), promised(like, value.get(name)?))));
            known.collect()
        }
        (Value::Array(like), Value::Array(value)) if like.len() == value.len() => like
            .iter()
            .zip(value)
            .map(|(like, value)| promised(like, value))
            .collect(),
        (_, value) => value.clone(),
    }
}

/// Fails the test unless this is the stream, for a model; more fields are welcome.
#[track_caller]
fn assert_stream(answer: &Answer, model: &str) {
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let (seen, wanted) = (events(answer.text()), events(STREAM));
    assert_eq!(seen.len(), wanted.len(), "{}", answer.text());
    let chunk = |event: &str| -> Value {
        serde_json::from_str(event.trim_start_matches("data: ")).expect("a chunk of JSON")
    };
    let first = chunk(seen[0]);
    assert_shape(
        "the first",
        &json!({"id": "<text>", "created": "<integer>"}),
        &first,
    );
    assert!(
        first["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("chatcmpl-")),
        "{first}"
    );
    let (chunks, end) = (&seen[..seen.len() - 1], seen[seen.len() - 1]);
    assert_eq!(end, "data: [DONE]");
    for (seen, wanted) in chunks.iter().zip(wanted) {
        let (seen, mut wanted) = (chunk(seen), chunk(wanted));
        wanted["model"] = json!(model);
        // The same in every chunk of one stream.
        (wanted["id"], wanted["created"]) = (first["id"].clone(), first["created"].clone());
        let seen = promised(&wanted, &seen);
        assert_eq!(seen, wanted);
    }
    // Nor does a field beyond those say a word.
    assert_eq!(answer.said(), "powered by openai");
}

/// The bytes of a stream with what varies replaced.
#[track_caller]
fn masked(answer: &Answer) -> String {
    let text = answer.text();
    let between = |before: &str, after: &str| -> String {
        let (_, rest) = text.split_once(before).expect(before);
        rest.split_once(after).expect(after).0.to_owned()
    };
    let (id, created) = (between(r#""id":""#, "\""), between(r#""created":"#, ","));
    text.replace(&id, "ID").replace(&created, "1234567890")
}

/// Everything streams but a JSON object that does not ask for it.
#[test]
fn it_streams_whatever_the_body_holds() {
    let mock = mock();
    for body in [
        "",
        "{}x",
        "no JSON",
        "[1,2]",
        "null",
        "\"stream\"",
        "17",
        r#"{"stream":true}"#,
        r#"{"stream":true,"messages":[]}"#,
        r#"{ "messages" : [ { "role" : "user" , "content" : "hi" } ] , "stream" : true }"#,
    ] {
        assert_stream(&post(&mock, body), "gpt-3.5-turbo");
    }
    assert_stream(
        &post(&mock, r#"{"model":"gpt-4o","stream":true}"#),
        "gpt-4o",
    );
    let plain = Call::new("POST", format!("{}{COMPLETIONS}", mock.url()));
    assert_stream(&plain.body("model=x&stream=1").send(), "gpt-3.5-turbo");
}

/// With the fields that a client cannot do without, and no others.
#[test]
fn the_stream_is_this_byte_for_byte() {
    let mock = mock();
    let call = Call::json(format!("{}{COMPLETIONS}", mock.url()), r#"{"stream":true}"#);
    let call = call.header("x-mock-fields", "minimal");
    assert_eq!(masked(&call.send().expect_status(200)), STREAM);
}

/// The fields that were promised come first, in their order: the mock before this one was read by
/// programs that look for text.
#[test]
fn a_chunk_begins_as_it_always_has() {
    let mock = mock();
    for (seen, wanted) in events(&masked(&post(&mock, ""))).iter().zip(events(STREAM)) {
        let (wanted, _) = wanted.split_once(r#","choices""#).unwrap_or((wanted, ""));
        assert!(seen.starts_with(wanted), "{seen}");
    }
}

#[test]
fn a_json_object_that_asks_for_no_stream_gets_one_answer() {
    let mock = mock();
    for body in [
        "{}",
        r#"{"stream":false}"#,
        r#"{"stream":null}"#,
        r#"{"stream":"true"}"#,
        r#"{"messages":[]}"#,
    ] {
        let answer = post(&mock, body);
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/json"), "{body}: {kind}");
        let shape = json!({
            "id": "<text>",
            "object": "chat.completion",
            "created": "<integer>",
            "model": "gpt-3.5-turbo",
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "powered by openai"},
                "finish_reason": "stop",
            }],
            "usage": {
                "prompt_tokens": "<integer>",
                "completion_tokens": "<integer>",
                "total_tokens": "<integer>",
            },
        });
        assert_shape(body, &shape, &answer.json());
    }
    let answer = post(&mock, r#"{"model":"gpt-4o-mini"}"#);
    assert_eq!(answer.json()["model"], "gpt-4o-mini");
}

/// `--always-stream`: that too is a stream.
#[test]
fn it_always_streams_if_configured() {
    let scenario = Scenario::from_toml("delay = 0\nalways-stream = true\n").expect("a scenario");
    let mock = MockServer::start(scenario).expect("the mock starts");
    for body in [
        "{}",
        r#"{"stream":false}"#,
        r#"{"messages":[]}"#,
        "",
        r#"{"stream":true}"#,
    ] {
        assert_stream(&post(&mock, body), "gpt-3.5-turbo");
    }
    assert_stream(&post(&mock, r#"{"model":"gpt-4o"}"#), "gpt-4o");
}

/// 50 ms between two words, and none before the first.
#[test]
fn words_come_50_ms_apart() {
    let mock = mock();
    let from = Instant::now();
    post(&mock, "");
    assert!(from.elapsed() >= Duration::from_millis(100), "two pauses");
    let none = MockServer::start(Scenario::new().delay(Duration::ZERO)).expect("the mock starts");
    assert_stream(&post(&none, ""), "gpt-3.5-turbo");
    let other = Scenario::new()
        .text("a text of others")
        .delay(Duration::ZERO);
    let other = MockServer::start(other).expect("the mock starts");
    assert_eq!(post(&other, "").said(), "a text of others");
}

#[test]
fn it_is_healthy() {
    let mock = mock();
    let answer = Call::new("GET", format!("{}/health", mock.url()))
        .send()
        .expect_status(200);
    assert_eq!(answer.json()["status"], "ok");
}

/// Each error as OpenAI words it.
#[test]
fn it_errs_as_openai_does() {
    let mock = mock();
    let cases: [(&str, u16, &str, Option<&str>); 8] = [
        (
            "invalid_api_key",
            401,
            "invalid_request_error",
            Some("invalid_api_key"),
        ),
        (
            "unsupported_country_region_territory",
            403,
            "request_forbidden",
            Some("unsupported_country_region_territory"),
        ),
        (
            "model_not_found",
            404,
            "invalid_request_error",
            Some("model_not_found"),
        ),
        (
            "rate_limit_exceeded",
            429,
            "requests",
            Some("rate_limit_exceeded"),
        ),
        (
            "tokens_exceeded",
            429,
            "tokens",
            Some("rate_limit_exceeded"),
        ),
        (
            "insufficient_quota",
            429,
            "insufficient_quota",
            Some("insufficient_quota"),
        ),
        ("server_error", 500, "server_error", None),
        ("overloaded", 503, "server_error", None),
    ];
    for (name, status, kind, code) in cases {
        let call = Call::json(
            format!("{}{COMPLETIONS}", mock.url()),
            r#"{"model":"gpt-4o"}"#,
        );
        let answer = call
            .header("x-mock-error", name)
            .send()
            .expect_status(status);
        let error = json!({"error": {"message": "<text>", "type": kind, "code": code}});
        assert_shape(name, &error, &answer.json());
        assert_eq!(
            answer.json()["error"].as_object().map(serde_json::Map::len),
            Some(4),
            "{name}"
        );
    }
}

/// What OpenAI says of every answer, and of limits.
#[test]
fn its_answers_have_openai_s_headers() {
    let limited = Scenario::from_toml("delay = 0\nrpm = 60\ntpm = 60000\n").expect("a scenario");
    let mock = MockServer::start(limited).expect("the mock starts");
    let call = Call::json(format!("{}{COMPLETIONS}", mock.url()), r#"{"stream":true}"#);
    let answer = call.token("sk-of-anybody").send().expect_status(200);
    let id = answer.header("x-request-id").unwrap_or_default();
    let hex = id.strip_prefix("req_").unwrap_or_default();
    assert!(
        hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(answer.header("openai-version"), Some("2020-10-01"));
    for name in ["openai-organization", "openai-processing-ms"] {
        assert!(
            answer.header(name).is_some_and(|value| !value.is_empty()),
            "{name}"
        );
    }
    for what in ["requests", "tokens"] {
        for name in ["limit", "remaining"] {
            let name = format!("x-ratelimit-{name}-{what}");
            let value = answer.header(&name).unwrap_or_default();
            assert!(value.parse::<u64>().is_ok(), "{name}: {value}");
        }
        let name = format!("x-ratelimit-reset-{what}");
        let value = answer.header(&name).unwrap_or_default();
        assert!(is_go_duration(value), "{name}: {value}");
    }
}

/// `12ms`, `1s`, `1.5s`, `6m0s`, `1h2m3s`.
fn is_go_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(0);
        let unit = rest[number..]
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len() - number);
        let known = ["h", "m", "s", "ms", "us", "µs", "ns"];
        if number == 0 || !known.contains(&&rest[number..number + unit]) {
            return false;
        }
        rest = &rest[number + unit..];
    }
    !text.is_empty()
}

/// `usage` is null in every chunk but one more before the end.
#[test]
fn a_stream_reports_its_usage_if_asked() {
    let mock = mock();
    let answer = post(
        &mock,
        r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
    );
    let events = events(answer.text());
    assert_eq!(events.len(), 7, "{}", answer.text());
    assert_eq!(events[6], "data: [DONE]");
    for (at, event) in events[..6].iter().enumerate() {
        let chunk: Value = serde_json::from_str(&event["data: ".len()..]).expect("JSON");
        let (usage, choices) = (
            &chunk["usage"],
            chunk["choices"].as_array().expect("choices"),
        );
        if at < 5 {
            assert!(
                chunk
                    .as_object()
                    .is_some_and(|chunk| chunk.contains_key("usage")),
                "{event}"
            );
            assert!(usage.is_null() && choices.len() == 1, "{event}");
        } else {
            assert!(choices.is_empty(), "{event}");
            let shape = json!({"prompt_tokens": "<integer>", "completion_tokens": 3, "total_tokens": "<integer>"});
            assert_shape("usage", &shape, usage);
        }
    }
}

/// What the mock streams, the gateway's clients get.
fn the_stream_passes_through(config: Config) {
    let bed = Bed::start(config);
    for body in [
        r#"{"stream":true}"#,
        r#"{"stream":true,"messages":[{"role":"user","content":"x"}]}"#,
    ] {
        assert_stream(&bed.chat(body).send().expect_status(200), "gpt-3.5-turbo");
    }
    let call = bed
        .chat(r#"{"stream":true}"#)
        .header("x-mock-fields", "minimal");
    assert_eq!(masked(&call.send().expect_status(200)), STREAM);
    // No body, as `curl -X POST` sends it.
    let empty = Call::new("POST", bed.url(COMPLETIONS))
        .token(SERVICE)
        .send();
    assert_stream(&empty.expect_status(200), "gpt-3.5-turbo");
    let answer = bed.chat("{}").send().expect_status(200);
    assert_eq!(answer.json()["object"], "chat.completion");
    assert_eq!(answer.said(), "powered by openai");
    bed.end();
}

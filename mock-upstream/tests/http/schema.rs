//! Answers held against OpenAI's own OpenAPI document.

use boon::{Compiler, Schemas};
use mock_upstream::{MockServer, Scenario};
use serde_json::{Value, json};

use crate::capture::Capture;
use crate::wire::start;

/// See `cut.py` beside it.
const DOCUMENT: &str = include_str!("../openai/schemas.json");

/// What is wrong with a value, by one of OpenAI's schemas.
fn faults(schema: &str, value: &Value) -> Option<String> {
    let document = serde_json::from_str(DOCUMENT).expect("JSON");
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    compiler
        .add_resource("openai.json", document)
        .expect("a document");
    let place = format!("openai.json#/components/schemas/{schema}");
    let index = compiler.compile(&place, &mut schemas).expect("a schema");
    let verdict = schemas.validate(value, index);
    verdict
        .err()
        .map(|error| format!("{schema}: {error:#}\n{value}"))
}

#[track_caller]
fn assert_valid(schema: &str, value: &Value) {
    let mut value = value.clone();
    let is_event = value.get("response").is_some();
    let response = if is_event {
        &mut value["response"]
    } else {
        &mut value
    };
    // Null in the document's examples, as in the real API's answers, though not in its schemas.
    if let Some(response) = response.as_object_mut() {
        response
            .retain(|name, value| !value.is_null() || !matches!(name.as_str(), "user" | "usage"));
    }
    if let Some(faults) = faults(schema, &value) {
        panic!("{faults}");
    }
}

fn mock(settings: &[(&str, &str)]) -> MockServer {
    let mut scenario = Scenario::new().delay(std::time::Duration::ZERO);
    for (name, value) in settings {
        scenario.set(name, value).expect(name);
    }
    start(scenario)
}

fn ask(mock: &MockServer, method: &str, path: &str, body: &Value) -> Capture {
    let headers = [("content-type", "application/json")];
    Capture::of(mock.addr(), method, path, &headers, &body.to_string())
}

const TOOLS: &[(&str, &str)] = &[("tool-calls", "2")];
const PADDED: &[(&str, &str)] = &[("obfuscation", "true")];
const CUT: &[(&str, &str)] = &[("finish-reason", "length")];

/// Everything that changes the form of an answer.
const FORMS: &[&[(&str, &str)]] = &[
    &[],
    TOOLS,
    PADDED,
    CUT,
    &[("finish-reason", "content_filter")],
];

#[test]
fn a_wrong_answer_is_found() {
    assert!(faults("Model", &json!({"id": 3, "object": "model"})).is_some());
}

#[test]
fn chat_completions() {
    for settings in FORMS {
        let mock = mock(settings);
        let body =
            json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}], "n": 2});
        let whole = ask(&mock, "POST", "/v1/chat/completions", &body);
        assert_valid("CreateChatCompletionResponse", &whole.json());
        for usage in [false, true] {
            let mut body = body.clone();
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": usage});
            assert_events(
                "CreateChatCompletionStreamResponse",
                &ask(&mock, "POST", "/v1/chat/completions", &body),
            );
        }
    }
}

#[track_caller]
fn assert_events(schema: &str, stream: &Capture) {
    let text = stream.text();
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let chunks = events.filter(|event| *event != "[DONE]");
    let chunks: Vec<Value> = chunks
        .map(|event| serde_json::from_str(event).expect("JSON"))
        .collect();
    assert!(chunks.len() > 2);
    chunks.iter().for_each(|chunk| assert_valid(schema, chunk));
}

#[test]
fn responses() {
    for settings in FORMS {
        let mock = mock(settings);
        let body = json!({"model": "gpt-4o", "input": "x"});
        assert_valid(
            "Response",
            &ask(&mock, "POST", "/v1/responses", &body).json(),
        );
        let body = json!({"model": "gpt-4o", "input": "x", "stream": true});
        assert_events(
            "ResponseStreamEvent",
            &ask(&mock, "POST", "/v1/responses", &body),
        );
    }
}

#[test]
fn everything_else() {
    let mock = mock(&[]);
    let cases = [
        (
            "/v1/completions",
            "CreateCompletionResponse",
            json!({"model": "m", "prompt": "x"}),
        ),
        (
            "/v1/embeddings",
            "CreateEmbeddingResponse",
            json!({"model": "m", "input": ["a", "b"]}),
        ),
        (
            "/v1/images/generations",
            "ImagesResponse",
            json!({"prompt": "a cat", "n": 2}),
        ),
        (
            "/v1/audio/transcriptions",
            "CreateTranscriptionResponseJson",
            json!({}),
        ),
    ];
    for (path, schema, body) in cases {
        assert_valid(schema, &ask(&mock, "POST", path, &body).json());
    }
    // The document knows no null, with which the real API streams: the last chunk has a reason.
    let body = json!({"model": "m", "prompt": "x", "stream": true});
    let events = ask(&mock, "POST", "/v1/completions", &body).events();
    let last = &events[events.len() - 2];
    assert_valid(
        "CreateCompletionResponse",
        &serde_json::from_str(last).expect("JSON"),
    );
    let list = ask(&mock, "GET", "/v1/models", &Value::Null).json();
    assert_valid("ListModelsResponse", &list);
    let model = format!(
        "/v1/models/{}",
        list["data"][0]["id"].as_str().expect("an id")
    );
    assert_valid("Model", &ask(&mock, "GET", &model, &Value::Null).json());
}

#[test]
fn errors() {
    for error in [
        "invalid_api_key",
        "unsupported_country_region_territory",
        "model_not_found",
        "rate_limit_exceeded",
        "tokens_exceeded",
        "insufficient_quota",
        "context_length_exceeded",
        "invalid_request_error",
        "server_error",
        "overloaded",
    ] {
        let mock = mock(&[("error", error)]);
        let answer = ask(&mock, "POST", "/v1/chat/completions", &json!({}));
        assert_valid("ErrorResponse", &answer.json());
    }
}

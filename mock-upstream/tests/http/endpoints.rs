//! The other endpoints.

use crate::capture::Capture;
use crate::wire::{connect, quick};

fn post(path: &str, body: &str) -> Capture {
    let mock = quick();
    Capture::of(mock.addr(), "POST", path, &[], body)
}

#[test]
fn completions() {
    let json = post("/v1/completions", r#"{"model":"m","prompt":"x"}"#).json();
    assert_eq!(json["object"], "text_completion");
    assert_eq!(json["choices"][0]["text"], "powered by openai");
    let events = post("/v1/completions", r#"{"stream":true}"#).events();
    assert_eq!((events.len(), events[4].as_str()), (5, "[DONE]"));
}

#[test]
fn responses() {
    let json = post("/v1/responses", r#"{"model":"m","input":"x"}"#).json();
    assert_eq!(
        (&json["object"], &json["status"]),
        (&"response".into(), &"completed".into())
    );
    assert_eq!(json["output"][0]["content"][0]["text"], "powered by openai");
    let stream = post(
        "/v1/responses",
        r#"{"model":"m","input":"x","stream":true}"#,
    );
    assert!(stream.ended);
    let text = stream.text();
    assert!(text.starts_with("event: response.created\ndata: {"));
    assert_eq!(
        text.matches("event: response.output_text.delta\n").count(),
        3
    );
    assert!(text.contains("event: response.completed\n"));
}

#[test]
fn embeddings() {
    let json = post("/v1/embeddings", r#"{"model":"m","input":["a","b"]}"#).json();
    let data = json["data"].as_array().expect("a list");
    assert_eq!(data.len(), 2);
    assert_eq!(data[1]["embedding"].as_array().map(Vec::len), Some(1536));
    assert_eq!(
        json["usage"]["prompt_tokens"],
        json["usage"]["total_tokens"]
    );
}

#[test]
fn images() {
    let json = post("/v1/images/generations", r#"{"prompt":"a cat","n":2}"#).json();
    let data = json["data"].as_array().expect("a list");
    assert_eq!(data.len(), 2);
    assert!(
        data[0]["b64_json"]
            .as_str()
            .is_some_and(|png| png.starts_with("iVBORw0KGgo"))
    );
}

#[test]
fn transcriptions() {
    let form = |format: &str| {
        format!(
            "--x\r\nContent-Disposition: form-data; name=\"response_format\"\r\n\r\n{format}\r\n--x--\r\n"
        )
    };
    let json = post("/v1/audio/transcriptions", &form("json")).json();
    assert_eq!(json["text"], "powered by openai");
    let json = post("/v1/audio/translations", &form("verbose_json")).json();
    assert_eq!(json["segments"][0]["text"], "powered by openai");
    let text = post("/v1/audio/transcriptions", &form("text"));
    assert_eq!(text.text(), "powered by openai\n");
    assert!(
        text.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain"))
    );
    let srt = post("/v1/audio/transcriptions", &form("srt")).text();
    assert!(srt.contains("00:00:00,000 --> 00:00:01,200"), "{srt}");
}

#[test]
fn models() {
    let mock = quick();
    let mut client = connect(mock.addr());
    client.send("GET", "/v1/models/gpt-4o", &[], b"");
    assert_eq!(client.json().1["id"], "gpt-4o");
    client.send("GET", "/v1/models/gpt-9", &[], b"");
    let (head, json) = client.json();
    assert_eq!(
        (head.status, &json["error"]["code"]),
        (404, &"model_not_found".into())
    );
}

#[test]
fn every_endpoint_is_strict_on_demand() {
    let mock = quick();
    let ask = |path: &str, body: &str| {
        let headers = [("x-mock-strict", "true"), ("authorization", "Bearer sk-1")];
        let seen = Capture::of(mock.addr(), "POST", path, &headers, body);
        let error = seen.json()["error"]["param"].clone();
        (seen.status, error.as_str().unwrap_or_default().to_owned())
    };
    let model = r#"{"model":"gpt-4o"}"#;
    for (path, missing) in [
        ("/v1/chat/completions", "messages"),
        ("/v1/completions", "prompt"),
        ("/v1/responses", "input"),
        ("/v1/embeddings", "input"),
        ("/v1/images/generations", "prompt"),
    ] {
        assert_eq!(ask(path, model), (400, missing.to_owned()), "{path}");
        assert_eq!(ask(path, "no JSON").0, 400, "{path}");
        assert_eq!(ask(path, r#"{"model":"gpt-9"}"#).0, 404, "{path}");
    }
    let good = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(ask("/v1/chat/completions", good).0, 200);
}

//! The body goes along with each attempt: from memory and from a temporary file, as the client sent it.

use e2e::Plan;
use serde_json::{Value, json};

use super::{key_gets, plan};

/// Two keys, of which the first is of no use.
fn one_bad() -> Plan {
    plan(2, &key_gets(1, "status = 503"))
}

/// What the upstream saw of each attempt: method, path and body length.
fn seen(requests: &[Value]) -> Vec<Value> {
    let fields = |r: &Value| json!([r["method"], r["path"], r["body_bytes"]]);
    requests.iter().map(fields).collect()
}

fn body_of(length: usize) -> String {
    let empty =
        json!({"model": "gpt-4o", "messages": [{"role": "user", "content": ""}]}).to_string();
    let text = "x".repeat(length - empty.len());
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}).to_string()
}

#[test]
fn a_body_of_ten_mebibytes_is_sent_again_from_its_file() {
    let gateway = one_bad()
        .location("client_max_body_size 32m; client_body_buffer_size 16k;")
        .start();
    let body = body_of(10 << 20);
    gateway.chat_with(body.clone()).send().expect_status(200);
    let requests = gateway.mock().requests();
    assert_eq!(
        seen(&requests),
        vec![json!(["POST", "/v1/chat/completions", body.len()]); 2]
    );
    gateway.wait_held(0, 0);
}

#[test]
fn a_body_in_memory_is_sent_again_unchanged() {
    let gateway = one_bad().start();
    let body = body_of(3_000);
    gateway.chat_with(body.clone()).send().expect_status(200);
    let sent: Value = serde_json::from_str(&body).expect("JSON");
    let requests = gateway.mock().requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|r| r["body"] == sent), "{requests:?}");
}

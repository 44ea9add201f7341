//! What tests and operators ask of a mock that runs.

use std::time::Duration;

use mock_upstream::{Scenario, key_hash};
use serde_json::{Value, json};

use crate::capture::Capture;
use crate::wire::{CHAT, STREAM, connect, quick, stalling, start, wait_until};

fn call(address: std::net::SocketAddr, method: &str, path: &str, body: &str) -> Capture {
    Capture::of(address, method, path, &[], body)
}

#[test]
fn a_scenario_can_be_put_patched_and_looked_at() {
    let mock = quick();
    let toml = "text = \"put here\"\ndelay = 0\n[[key]]\ntoken = \"sk-secret\"\nrpm = 1\n";
    let put = call(mock.addr(), "PUT", "/__mock/scenario", toml);
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(call(mock.addr(), "POST", CHAT, STREAM).said(), "put here");

    let patch = r#"{"words":1,"fault":[{"status":500,"every":2}]}"#;
    assert_eq!(
        call(mock.addr(), "PATCH", "/__mock/scenario", patch).status,
        200
    );
    assert_eq!(call(mock.addr(), "POST", CHAT, STREAM).said(), "put ");
    assert_eq!(call(mock.addr(), "POST", CHAT, STREAM).status, 500);

    let shown = call(mock.addr(), "GET", "/__mock/scenario", "");
    assert!(!shown.text().contains("sk-secret"));
    let shown = shown.json();
    assert_eq!(shown["settings"]["text"], "put here");
    assert_eq!(shown["keys"], json!([key_hash("Bearer sk-secret")]));
    let rule = json!({"fault": {"status": "500", "every": "2"}, "seen": 2, "hits": 1});
    assert_eq!(shown["faults"], json!([rule]));

    let json = r#"{"text":"in JSON","delay":0}"#;
    assert_eq!(
        call(mock.addr(), "PUT", "/__mock/scenario", json).status,
        200
    );
    assert_eq!(call(mock.addr(), "POST", CHAT, STREAM).said(), "in JSON");
}

#[test]
fn a_mistake_changes_nothing_and_is_explained() {
    let mock = quick();
    for (method, path, body, part) in [
        ("PUT", "/__mock/scenario", "delay = \"soon\"", "line 1"),
        (
            "PUT",
            "/__mock/scenario",
            "{\"dealy\":1}",
            "there is no setting dealy",
        ),
        (
            "PATCH",
            "/__mock/scenario",
            "{\"text\":\"x\",\"words\":-1}",
            "words must be",
        ),
        (
            "POST",
            "/__mock/faults",
            "{\"staus\":500}",
            "there is no setting staus",
        ),
        (
            "POST",
            "/__mock/faults",
            "[{\"status\":500},{\"every\":0}]",
            "every must be",
        ),
        (
            "POST",
            "/__mock/clock",
            "{\"advance\":\"soon\"}",
            "not a duration",
        ),
        ("POST", "/__mock/clock", "{}", "advance"),
    ] {
        let refused = call(mock.addr(), method, path, body);
        assert_eq!(refused.status, 400, "{body}");
        let error = &refused.json()["error"];
        assert_eq!(error["code"], "invalid_scenario");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(
        call(mock.addr(), "POST", CHAT, STREAM).said(),
        "powered by openai"
    );
}

#[test]
fn the_journal_reports_the_last_requests() {
    let mut scenario = Scenario::new().delay(Duration::ZERO);
    scenario.set("journal", "3").expect("a setting");
    let mock = start(scenario);
    for index in 0..3 {
        call(mock.addr(), "POST", "/v1/files", &"x".repeat(index));
    }
    let headers = [
        ("authorization", "Bearer sk-1"),
        ("x-team", "a"),
        ("x-mock-words", "2"),
    ];
    let body = r#"{"model":"gpt-4o","stream":true}"#;
    let seen = Capture::of(mock.addr(), "POST", CHAT, &headers, body);

    let journal = call(mock.addr(), "GET", "/__mock/requests", "").json();
    let requests = journal["requests"].as_array().expect("a list");
    assert_eq!(requests, &mock.requests());
    assert_eq!(requests.len(), 3);
    assert_eq!(
        (&requests[0]["path"], &requests[0]["body_bytes"]),
        (&"/v1/files".into(), &1.into())
    );
    let last = &requests[2];
    assert_eq!(last["number"], 4);
    assert_eq!(last["key"], key_hash("Bearer sk-1"));
    assert_eq!(last["headers"]["x-team"], "a");
    assert_eq!(last["headers"]["authorization"], "(redacted)");
    assert_eq!(last["body"]["model"], "gpt-4o");
    assert_eq!(
        (&last["status"], &last["outcome"]),
        (&200.into(), &"complete".into())
    );
    assert_eq!(
        (&last["fault"], &last["completion_tokens"]),
        (&"words=2".into(), &2.into())
    );
    assert_eq!(seen.header("x-request-id"), last["request_id"].as_str());
    mock.reset();
    assert_eq!(mock.requests().len(), 0);
}

#[test]
fn what_a_client_leaves_half_said_is_in_the_journal_and_the_ledger() {
    let mock = stalling();
    let mut client = connect(mock.addr());
    client.ask(&[("authorization", "Bearer sk-1")]);
    assert_eq!(client.head().status, 200);
    for _ in 0..2 {
        client.chunk().expect("a chunk");
    }
    assert_eq!(mock.requests()[0]["outcome"], "open");
    drop(client);
    wait_until("it is noticed", || mock.stats().totals.aborted == 1);
    assert_eq!(mock.requests()[0]["outcome"], "aborted");
    assert_eq!(mock.ledger()[&key_hash("Bearer sk-1")].completion_tokens, 1);
}

#[test]
fn the_ledger_is_what_usage_said() {
    let mock = quick();
    let mut expected = (0, 0);
    for body in [
        r#"{"messages":["12345678"]}"#,
        r#"{"messages":["1"],"n":3}"#,
        r#"{"messages":["1"],"n":2,"stream":true,"stream_options":{"include_usage":true}}"#,
    ] {
        let seen = call(mock.addr(), "POST", CHAT, body);
        let usage = if body.contains("stream") {
            let events = seen.events();
            let event: Value = serde_json::from_str(&events[events.len() - 2]).expect("JSON");
            event["usage"].clone()
        } else {
            seen.json()["usage"].clone()
        };
        expected.0 += usage["prompt_tokens"].as_u64().expect("a count");
        expected.1 += usage["completion_tokens"].as_u64().expect("a count");
    }
    let ledger = call(mock.addr(), "GET", "/__mock/ledger", "").json();
    let own = &ledger["keys"]["none"];
    assert_eq!(own["prompt_tokens"], expected.0);
    assert_eq!(own["completion_tokens"], expected.1);
    assert_eq!((expected.1, &own["admitted"]), (3 + 9 + 6, &3.into()));
}

#[test]
fn metrics_are_in_the_format_of_prometheus() {
    let mock = quick();
    call(mock.addr(), "POST", CHAT, STREAM);
    let headers = [("x-mock-status", "500")];
    Capture::of(mock.addr(), "GET", "/v1/models", &headers, "");
    let metrics = call(mock.addr(), "GET", "/metrics", "");
    let kind = metrics.header("content-type").expect("a type");
    assert!(kind.starts_with("application/openmetrics-text"));
    let text = metrics.text();
    for line in [
        "# TYPE mock_answers counter",
        "mock_answers_total{route=\"chat_completions\",status=\"200\"} 1",
        "mock_answers_total{route=\"models\",status=\"500\"} 1",
        "mock_requests_total 2",
        "mock_chunks_total 6",
        "mock_completion_tokens_total 3",
        "mock_requests_in_flight 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn the_clock_of_the_limits_can_be_put_forward() {
    let mut scenario = Scenario::new().delay(Duration::ZERO);
    scenario.set("rpm", "1").expect("a setting");
    let mock = start(scenario);
    let status = || call(mock.addr(), "POST", CHAT, STREAM).status;
    assert_eq!([status(), status()], [200, 429]);
    let body = r#"{"advance":"1m"}"#;
    assert_eq!(call(mock.addr(), "POST", "/__mock/clock", body).status, 200);
    assert_eq!([status(), status()], [200, 429]);
}

#[test]
fn rules_of_a_share_fail_the_same_requests_every_time() {
    let statuses = || {
        let mut scenario = Scenario::new().delay(Duration::ZERO);
        scenario.set("seed", "7").expect("a setting");
        let rule = mock_upstream::Rule::parse("status=500 share=30%").expect("a rule");
        let mock = start(scenario.rule(rule));
        let mut client = connect(mock.addr());
        let ask = |_| {
            client.send("GET", "/v1/models", &[], b"");
            client.json().0.status
        };
        (0..200).map(ask).collect::<Vec<_>>()
    };
    let first = statuses();
    assert_eq!(first, statuses());
    let failed = first.iter().filter(|status| **status == 500).count();
    assert!((40..80).contains(&failed), "{failed}");
}

//! The log format that people include is JSON, whatever becomes of a request.

use std::fs;

use e2e::{Gateway, Plan, RawUpstream, json_lines, wait_for, wait_until, workspace};
use serde_json::Value;

/// A gateway that logs as `nginx/log_format.conf` says.
fn start(upstream: &RawUpstream) -> Gateway {
    let format = fs::read_to_string(workspace().join("nginx/log_format.conf"));
    Plan::new()
        .main("worker_shutdown_timeout 300ms;")
        .file("log_format.conf", &format.expect("the log format"))
        .http("include {dir}/log_format.conf;")
        .server("access_log {dir}/openai.json openai_json;")
        .upstream(upstream.address())
        .start()
}

/// The lines, once there are so many; each must be JSON.
#[track_caller]
fn lines(gateway: &Gateway, requests: usize) -> Vec<Value> {
    wait_for("the requests are logged", || {
        let text = fs::read_to_string(gateway.dir().join("openai.json")).unwrap_or_default();
        let lines: Vec<Value> = json_lines(&text);
        (lines.len() >= requests).then_some(lines)
    })
}

/// A waiter that is cut off by the end of its worker has no status: nginx writes `000`.
#[test]
fn a_request_that_was_closed_without_an_answer_is_logged_as_json() {
    let upstream = RawUpstream::bind();
    let mut gateway = start(&upstream);
    let mut holder = gateway.connect();
    holder.send(e2e::post("", "{}"));
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("first");
    holder.read_until("data: first");
    let mut waiter = gateway.connect();
    waiter.send(e2e::post("", "{}"));
    gateway.wait_held(1, 1);
    gateway.quit();
    assert_eq!(waiter.read_to_end(), "", "closed without an answer");
    let lines = lines(&gateway, 2);
    let unanswered = lines.iter().find(|line| line["key_id"] == "");
    let unanswered = unanswered.expect("the waiter is logged");
    assert_eq!(unanswered["event"], "request");
    assert_eq!(unanswered["status"], Value::Null);
    assert_eq!(unanswered["lease_status"], "client_left");
    exchange.wait_closed();
    wait_until("nginx has ended", || gateway.nginx().has_ended());
}

/// Before HTTP/1.0 there was no status: nginx writes `009` when it has none.
#[test]
fn requests_of_every_age_are_logged_as_json() {
    let upstream = RawUpstream::bind();
    let gateway = start(&upstream);
    for request in [
        "GET /old\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "NONSENSE\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ] {
        gateway.connect().send(request).read_to_end();
    }
    for line in lines(&gateway, 5) {
        assert_eq!(line["event"], "request", "{line}");
        let status = &line["status"];
        assert!(status.is_null() || status.is_u64(), "{line}");
        let id = line["request_id"].as_str();
        assert!(id.is_some_and(|id| !id.is_empty()), "{line}");
    }
}

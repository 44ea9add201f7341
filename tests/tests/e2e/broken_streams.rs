//! A stream that breaks in the upstream's hands ends with an error event, where there is a form
//! and a place for one.

use std::io::Read;

use e2e::{Exchange, Gateway, Plan, RawUpstream, post};

use crate::http2;

fn start(plan: Plan) -> (Gateway, RawUpstream) {
    let upstream = RawUpstream::bind();
    (plan.upstream(upstream.address()).start(), upstream)
}

/// What a client gets that asks by `request`, of an upstream that does this.
#[track_caller]
fn received(plan: Plan, request: &str, act: impl FnOnce(Exchange)) -> String {
    let (gateway, upstream) = start(plan);
    let mut client = gateway.connect();
    client.send(request);
    act(upstream.accept());
    let text = client.read_to_end();
    gateway.wait_held(0, 0);
    text
}

#[test]
fn the_error_is_an_event_of_its_own_and_the_connection_ends() {
    let kept = post("", "{}").replace("Connection: close\r\n", "");
    for (act, code) in [
        (drop as fn(Exchange), "upstream_unavailable"),
        (Exchange::reset, "upstream_unavailable"),
        (|mut exchange| exchange.wait_closed(), "upstream_timeout"),
    ] {
        let plan = Plan::new().location("proxy_read_timeout 2s;");
        let text = received(plan, &kept, |mut exchange| {
            exchange.begin_stream().event("first");
            act(exchange);
        });
        let (_, rest) = text.split_once("data: first\n\n").expect("the event");
        assert!(rest.contains("\r\ndata: {\"error\":{"), "{text}");
        assert!(rest.contains(code), "{text}");
        assert!(text.ends_with("}}\n\n\r\n0\r\n\r\n"), "{text}");
    }
}

#[test]
fn an_event_that_is_cut_off_is_not_completed() {
    let text = received(Plan::new(), &post("", "{}"), |mut exchange| {
        exchange
            .begin_stream()
            .event("first")
            .send("5\r\ndata:\r\n");
    });
    assert!(text.contains("data: first"), "{text}");
    assert!(!text.contains("error"), "{text}");
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");
}

#[test]
fn only_an_event_stream_of_unknown_length_takes_an_event() {
    let event = "data: first\n\n";
    for head in [
        "Content-Type: application/json\r\n",
        "Content-Type: text/event-stream\r\nContent-Length: 100\r\n",
        "Content-Type: text/event-stream\r\nContent-Encoding: br\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let chunked = head.contains("chunked");
        let text = received(Plan::new(), &post("", "{}"), |mut exchange| {
            exchange.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n"));
            if chunked {
                exchange.send(format!("{:x}\r\n{event}\r\n", event.len()));
            } else {
                exchange.send(event);
            }
            // What follows a reset may be lost.
            std::mem::drop(exchange);
        });
        assert!(!text.contains("\"error\""), "{text}");
    }
    let old = post("", "{}").replace("HTTP/1.1", "HTTP/1.0");
    let text = received(Plan::new(), &old, |mut exchange| {
        exchange.begin_stream().event("first");
    });
    assert!(text.ends_with(event), "{text}");
}

#[test]
fn an_alias_and_the_usage_are_cared_for_until_then() {
    let plan = Plan::new().location("openai_include_usage on; openai_usage on;");
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    let (gateway, upstream) = start(plan);
    let mut client = gateway.connect();
    client.send(post("Content-Type: application/json\r\n", body));
    let mut exchange = upstream.accept();
    exchange
        .begin_stream()
        .event(r#"{"choices":[{"delta":{"content":"a"}}]}"#);
    client.read_until("content");
    drop(exchange);
    let text = client.read_to_end();
    assert_eq!(text.matches("upstream_unavailable").count(), 1, "{text}");
    gateway.wait_held(0, 0);
    let log = gateway.error_log().text();
    let reported = log.lines().find(|line| line.contains("answer_broken"));
    assert!(
        reported.is_some_and(|line| line.contains("\"error_sent\":true")),
        "{log}"
    );
}

#[test]
fn clients_of_http2_get_the_error_too() {
    let (gateway, upstream) = start(Plan::new().tls());
    let mut curl = http2::curl(&gateway, "/v1/chat/completions");
    curl.args(["--json", "{}"])
        .stdout(std::process::Stdio::piped());
    let mut client = curl.spawn().expect("curl runs");
    upstream.accept().begin_stream().event("first");
    let mut text = String::new();
    let output = client.stdout.take().expect("its output is piped");
    let mut output = std::io::BufReader::new(output);
    output.read_to_string(&mut text).expect("text");
    assert!(
        client.wait().expect("curl").success(),
        "the stream has ended in order"
    );
    assert!(text.contains("upstream_unavailable"), "{text}");
}

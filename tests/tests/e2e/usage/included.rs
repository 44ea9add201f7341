//! Streams that are asked for their usage on behalf of clients that have not.

use e2e::{Gateway, Plan, RawUpstream};
use mock_upstream::Scenario;
use serde_json::Value;

use super::{call, only_line, reported};

const ASKS: &str = "openai_include_usage on;";

fn plan(scenario: &str) -> Plan {
    let scenario = Scenario::from_toml(&format!("delay = 0\n{scenario}")).expect("a scenario");
    Plan::new().location(ASKS).scenario(scenario)
}

fn chat(more: &str) -> String {
    format!(r#"{{"model":"gpt-4o","messages":[{{"content":"hello"}}]{more}}}"#)
}

/// What a client sees of a stream, without what differs from one to the next.
fn seen(gateway: &Gateway, body: &str) -> Vec<String> {
    let answer = gateway.chat_with(body).send().expect_status(200);
    let text = answer.text().replace("\"usage\":null,", "");
    let mut lines = vec![];
    for line in text.replace(",\"usage\":null", "").lines() {
        let Some(json) = line.strip_prefix("data: {") else {
            lines.push(line.to_owned());
            continue;
        };
        let mut json: Value = serde_json::from_str(&format!("{{{json}")).expect(line);
        json["id"] = Value::Null;
        json["created"] = Value::Null;
        lines.push(json.to_string());
    }
    lines
}

#[test]
fn the_usage_is_reported_and_the_client_sees_nothing_of_it() {
    let plain = Plan::new().start();
    let expected = seen(&plain, &chat(r#","stream":true"#));
    assert_eq!(
        expected
            .iter()
            .filter(|line| *line == "data: [DONE]")
            .count(),
        1
    );
    for body in [
        chat(r#","stream":true"#),
        chat(r#","stream":true,"stream_options":null"#),
        chat(r#","stream":true,"stream_options":{}"#),
    ] {
        let gateway = plan("").start();
        assert_eq!(seen(&gateway, &body), expected, "{body}");
        assert_eq!(
            reported(&only_line(&gateway)),
            ("6", "3", "exact"),
            "{body}"
        );
    }
}

#[test]
fn it_makes_no_difference_how_the_stream_is_cut() {
    let plain = Plan::new().start();
    let expected = seen(&plain, &chat(r#","stream":true"#));
    for split in [1, 7, 64, 333] {
        let gateway = plan(&format!("[[fault]]\nsplit = {split}")).start();
        assert_eq!(seen(&gateway, &chat(r#","stream":true"#)), expected);
        assert_eq!(reported(&only_line(&gateway)), ("6", "3", "exact"));
    }
}

#[test]
fn long_streams_come_whole_to_slow_clients() {
    let gateway = plan("words = 20000").start();
    let mut client = gateway.connect();
    let json = "Content-Type: application/json\r\n";
    let request = e2e::post(json, &chat(r#","stream":true"#));
    // Without the frame of chunks.
    client.send(request.replace("HTTP/1.1", "HTTP/1.0"));
    // The client begins to read when nginx cannot write any more.
    gateway.wait_in_flight(1);
    let text = client.read_to_end();
    assert_eq!(text.matches("\"content\":\"").count(), 20_000 + 1);
    assert_eq!(text.matches("data: [DONE]").count(), 1);
    assert!(!text.contains("prompt_tokens"));
    assert_eq!(reported(&only_line(&gateway)), ("6", "20000", "exact"));
}

#[test]
fn a_client_that_asks_sees_its_usage() {
    let body = chat(r#","stream":true,"stream_options":{"include_usage":true}"#);
    let gateway = plan("").start();
    let answer = gateway.chat_with(body).send().expect_status(200);
    assert_eq!(answer.text().matches("\"prompt_tokens\":6").count(), 1);
    assert_eq!(reported(&only_line(&gateway)), ("6", "3", "exact"));
}

#[test]
fn what_says_no_and_what_is_no_such_stream_goes_as_it_came() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .location(ASKS)
        .upstream(upstream.address())
        .start();
    let input = r#"{"model":"m","input":"x","stream":true}"#.to_owned();
    for (path, body) in [
        ("/v1/chat/completions", chat("")),
        (
            "/v1/chat/completions",
            chat(r#","stream":true,"stream_options":{"include_usage":false}"#),
        ),
        ("/v1/responses", input),
    ] {
        let client = call(&gateway, path, &body).spawn();
        let mut exchange = upstream.accept();
        assert_eq!(exchange.body, body.as_bytes());
        exchange.answer();
        client.join().expect("an answer").expect_status(200);
    }
}

#[test]
fn a_body_in_a_file_is_asked_too() {
    let gateway = plan("")
        .location("client_body_in_file_only clean; client_max_body_size 1m;")
        .start();
    let long = "x".repeat(300_000);
    let body = format!(r#"{{"messages":[{{"content":"{long}"}}],"stream":true}}"#);
    let answer = gateway.chat_with(body).send().expect_status(200);
    assert_eq!(answer.said(), "powered by openai");
    let line = only_line(&gateway);
    assert_eq!(reported(&line), ("75004", "3", "exact"));
}

#[test]
fn an_error_is_not_touched() {
    let gateway = plan("[[fault]]\nerror-after = 2").start();
    let answer = gateway.chat_with(chat(r#","stream":true"#)).send();
    assert!(answer.text().contains("\"error\""), "{}", answer.text());
    let refused = gateway
        .chat_with(chat(r#","stream":true"#))
        .header("x-mock-status", "400");
    assert_eq!(refused.send().refusal().status, 400);
}

/// A stream that says how long it is, with the chunk that is to be taken out.
fn answer_with_a_length(exchange: &mut e2e::Exchange) {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n\
                  data: {\"choices\":[],\"usage\":{\"prompt_tokens\":6,\"completion_tokens\":3}}\n\n\
                  data: [DONE]\n\n";
    exchange.send(format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\
         Accept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n{stream}",
        stream.len()
    ));
}

const LEFT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\ndata: [DONE]\n\n";

fn with_a_length() -> (Gateway, RawUpstream) {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .location(ASKS)
        .upstream(upstream.address())
        .tls()
        .start();
    (gateway, upstream)
}

#[test]
fn a_stream_that_says_how_long_it_is_ends_where_it_ends_over_http_1_1() {
    let (gateway, upstream) = with_a_length();
    let body = chat(r#","stream":true"#);
    let one = e2e::post("Content-Type: application/json\r\n", &body);
    let kept = one.replace("Connection: close\r\n", "");
    let mut client = gateway.connect();
    client.send(format!("{kept}{one}"));
    for _ in 0..2 {
        answer_with_a_length(&mut upstream.accept());
    }
    let text = client.read_to_end();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    assert_eq!(text.matches("data: [DONE]\n\n").count(), 2, "{text}");
    assert_eq!(text.matches("\r\n0\r\n\r\n").count(), 2, "{text}");
    assert!(!text.contains("prompt_tokens"), "{text}");
    let lower = text.to_ascii_lowercase();
    assert!(!lower.contains("content-length"), "{text}");
    assert!(!lower.contains("accept-ranges"), "{text}");
}

#[test]
fn a_stream_that_says_how_long_it_is_ends_with_the_connection_over_http_1_0() {
    let (gateway, upstream) = with_a_length();
    let body = chat(r#","stream":true"#);
    let request = e2e::post("Content-Type: application/json\r\n", &body);
    let request = request.replace("HTTP/1.1", "HTTP/1.0");
    let mut client = gateway.connect();
    client.send(request.replace("Connection: close", "Connection: keep-alive"));
    answer_with_a_length(&mut upstream.accept());
    let answer = client.answer();
    assert_eq!(answer.text(), LEFT);
    assert_eq!(answer.header("content-length"), None);
}

#[test]
fn a_stream_that_says_how_long_it_is_ends_where_it_ends_over_http_2() {
    let (gateway, upstream) = with_a_length();
    let mut curl = crate::http2::curl(&gateway, "/v1/chat/completions");
    curl.args(["--json", &chat(r#","stream":true"#)]);
    let client = std::thread::spawn(move || crate::http2::run(curl));
    answer_with_a_length(&mut upstream.accept());
    assert_eq!(client.join().unwrap(), format!("{LEFT}\n2 200"));
}

#[test]
fn the_length_of_a_changed_body_is_that_of_the_variable() {
    let upstream = RawUpstream::bind();
    let variables = "proxy_set_header Content-Length $content_length; \
                     proxy_set_header X-Length $content_length;";
    let gateway = Plan::new()
        .server("if ($content_length = 0) { return 411; }")
        .location(ASKS)
        .location(variables)
        .upstream(upstream.address())
        .start();
    let sent = chat(r#","stream":true"#);
    let client = gateway.chat_with(&*sent).spawn();
    let mut exchange = upstream.accept();
    assert!(exchange.body.len() > sent.len());
    let length = exchange.body.len().to_string();
    assert_eq!(exchange.header("x-length"), Some(&*length));
    assert!(exchange.body.ends_with(b"}"));
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
}

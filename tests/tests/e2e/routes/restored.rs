//! Where that is asked for, answers name the alias again.

use std::sync::mpsc;
use std::thread;

use e2e::{Exchange, Gateway, Plan, RawUpstream, post};

use super::bed::plan;

const ROUTES: &str = "
    model *          to=local@local;
    alias \"a \\\"b\\\"\" gpt-4o-mini restore;
    alias plain      gpt-4o-mini;";
const ASKS: &str = r#"{"model":"a \"b\"","stream":true}"#;
const JSON: &str = "application/json";

fn gateway(upstream: &RawUpstream) -> Plan {
    plan(&upstream.address(), ROUTES).location("proxy_http_version 1.1;")
}

/// An answer of this type, with a length and more header lines.
fn answer(exchange: &mut Exchange, kind: &str, lines: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n{lines}\r\n",
        body.len()
    );
    exchange.send(head).send(body);
}

/// What a client gets that asks for an alias, and is answered so.
fn gets(gateway: &Gateway, upstream: &RawUpstream, asks: &str, says: [&str; 3]) -> e2e::Answer {
    let client = gateway.chat_with(asks).spawn();
    let [kind, lines, body] = says;
    answer(&mut upstream.accept(), kind, lines, body.as_bytes());
    client.join().expect("an answer").expect_status(200)
}

#[test]
fn a_json_answer_names_the_alias() {
    let upstream = RawUpstream::bind();
    let gateway = gateway(&upstream).start();
    let body =
        "{\n  \"id\" : \"x\",\"model\": \"gpt-4o-mini-2024-07-18\", \"a\":{\"model\":\"m\"} }";
    let restored = "{\n  \"id\" : \"x\",\"model\": \"a \\\"b\\\"\", \"a\":{\"model\":\"m\"} }";
    let kind = "application/json; charset=utf-8";
    let answer = gets(&gateway, &upstream, ASKS, [kind, "", body]);
    assert_eq!(answer.text(), restored);
    assert_eq!(answer.header("content-type"), Some(kind));
    assert_eq!(answer.header("content-length"), None);
    for (asks, kind, lines) in [
        (r#"{"model":"plain"}"#, JSON, ""),
        (r#"{"model":"gpt-4o"}"#, JSON, ""),
        (ASKS, "text/plain", ""),
        (ASKS, JSON, "Content-Encoding: br\r\n"),
    ] {
        let answer = gets(&gateway, &upstream, asks, [kind, lines, body]);
        assert_eq!(answer.text(), body, "{asks} {kind} {lines}");
        let length = body.len().to_string();
        assert_eq!(answer.header("content-length"), Some(length.as_str()));
    }
}

#[test]
fn the_upstream_is_asked_for_a_plain_answer() {
    let upstream = RawUpstream::bind();
    let gateway = gateway(&upstream).start();
    for asks in [ASKS, r#"{"model":"plain"}"#] {
        let call = gateway
            .chat_with(asks)
            .header("accept-encoding", "gzip, br");
        let client = call.spawn();
        let mut exchange = upstream.accept();
        assert_eq!(exchange.header("accept-encoding"), None, "{asks}");
        exchange.answer();
        client.join().expect("an answer").expect_status(200);
    }
}

#[test]
fn every_event_names_the_alias_as_soon_as_it_comes() {
    let upstream = RawUpstream::bind();
    let gateway = gateway(&upstream).start();
    let client = gateway.chat_with(ASKS).spawn_events();
    let mut exchange = upstream.accept();
    exchange.begin_stream();
    let mut events = {
        exchange.event(r#"{"model":"gpt-4o-mini","number":0}"#);
        client.join().expect("the head of an answer")
    };
    assert_eq!(
        events.next().as_deref(),
        Some(r#"{"model":"a \"b\"","number":0}"#)
    );
    for number in 1..50 {
        exchange.event(&format!(
            r#"{{"number":{number},"model":"gpt-4o-mini","n":[]}}"#
        ));
        let expected = format!(r#"{{"number":{number},"model":"a \"b\"","n":[]}}"#);
        assert_eq!(events.next(), Some(expected));
    }
    exchange.event(r#"{"type":"response.completed","response":{"model":"gpt-4o-mini"}}"#);
    let expected = r#"{"type":"response.completed","response":{"model":"a \"b\""}}"#;
    assert_eq!(events.next().as_deref(), Some(expected));
    exchange.end_stream();
    assert_eq!(events.next().as_deref(), Some("[DONE]"));
    assert_eq!(events.next(), None);
}

#[test]
fn events_may_be_cut_anywhere() {
    let upstream = RawUpstream::bind();
    let gateway = gateway(&upstream).start();
    let client = gateway.chat_with(ASKS).spawn();
    let mut exchange = upstream.accept();
    exchange.begin_stream();
    for event in ["data: {\"model\":\"m\"}\n\n"; 3] {
        for byte in event.bytes() {
            exchange.send(format!("1\r\n{}\r\n", char::from(byte)));
            // Each byte in a packet of its own, as far as that can be had.
            thread::yield_now();
        }
    }
    exchange.send("0\r\n\r\n");
    let answer = client.join().expect("an answer");
    assert_eq!(
        answer.text(),
        "data: {\"model\":\"a \\\"b\\\"\"}\n\n".repeat(3)
    );
}

/// An answer of several megabytes, with the model at both ends of it.
fn large() -> (String, String) {
    let filler = "0123456789abcdef".repeat(1 << 18);
    let of = |model: &str| {
        format!(
            r#"{{"response":{{"model":{model},"x":"{filler}"}},"y":"{filler}","model":{model}}}"#
        )
    };
    (of("\"gpt-4o-mini\""), of(r#""a \"b\"""#))
}

#[test]
fn a_large_answer_for_a_slow_client() {
    let (body, restored) = large();
    for buffering in [true, false] {
        let upstream = RawUpstream::bind();
        let gateway = gateway(&upstream)
            .location(if buffering {
                ""
            } else {
                "proxy_buffering off;"
            })
            .start();
        let (begin, begun) = mpsc::channel();
        let mut client = gateway.connect();
        client.send(post("Content-Type: application/json\r\n", ASKS));
        let reader = thread::spawn(move || {
            begun.recv().expect("the upstream answers");
            client.read_to_end()
        });
        let mut exchange = upstream.accept();
        if !buffering {
            begin.send(()).expect("a reader");
        }
        answer(&mut exchange, JSON, "", body.as_bytes());
        drop(exchange);
        if buffering {
            // nginx has all of it, in a file but for some buffers.
            begin.send(()).expect("a reader");
        }
        let text = reader.join().expect("an answer");
        let (head, framed) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains("chunked"), "{head}");
        assert!(unchunked(framed) == restored, "buffering: {buffering}");
    }
}

/// A body without the frame of its chunks.
fn unchunked(mut framed: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = framed.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        body.push_str(&rest[..size]);
        framed = &rest[size + 2..];
    }
    body
}

#[test]
fn errors_of_the_gateway_and_of_the_upstream_stay() {
    let upstream = RawUpstream::bind();
    let gateway = gateway(&upstream).location("openai_next_key off;").start();
    let client = gateway.chat_with(ASKS).spawn();
    upstream.accept().reset();
    let answer = client.join().expect("an answer");
    assert_eq!(answer.refusal().status, 502);
    let client = gateway.chat_with(ASKS).spawn();
    let body = r#"{"error":{"message":"no","type":"x","param":"model","code":null}}"#;
    upstream.accept().send(format!(
        "HTTP/1.1 400 No\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let answer = client.join().expect("an answer").expect_status(400);
    assert_eq!(answer.text(), body);
}

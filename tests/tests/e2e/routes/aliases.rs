//! An alias changes the model in the body, and not a byte besides.

use e2e::{Call, Exchange, Gateway, Plan, RawUpstream};

use super::bed::plan;

const ALIASES: &str = "
    model *          to=local@local;
    alias fast       gpt-4o-mini;
    alias \"a \\\"b\\\"\" \"gp\\\"t\";
    alias long       org/team/model-with-a-very-long-name-0123456789;";

fn gateway(upstream: &RawUpstream) -> Plan {
    plan(&upstream.address(), ALIASES)
}

/// What arrives of a body that a client sends.
#[track_caller]
fn arrives(gateway: &Gateway, upstream: &RawUpstream, body: &[u8]) -> Exchange {
    let client = gateway.chat_with(body).spawn();
    let mut exchange = upstream.accept();
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
    exchange
}

#[track_caller]
fn assert_arrives(gateway: &Gateway, upstream: &RawUpstream, sent: &[u8], expected: &[u8]) {
    let exchange = arrives(gateway, upstream, sent);
    assert!(
        exchange.body == expected,
        "{} bytes: {:?}",
        exchange.body.len(),
        String::from_utf8_lossy(&exchange.body[..exchange.body.len().min(300)])
    );
    let length = exchange.header("content-length").expect("a length");
    assert_eq!(length, expected.len().to_string());
    assert_eq!(exchange.header("transfer-encoding"), None);
}

/// A body of about this size that names `model` in the middle of it.
fn large(size: usize, model: &str) -> Vec<u8> {
    let text = |bytes: usize| -> String {
        (0..bytes)
            .map(|at| char::from(b'a' + (at % 26) as u8))
            .collect()
    };
    let (before, after) = (text(size / 3), text(size - size / 3));
    format!(r#"{{"messages":["{before}"],"model":{model},"user":"{after}"}}"#).into_bytes()
}

#[test]
fn the_model_is_replaced_and_all_other_bytes_stay() {
    let upstream = RawUpstream::bind();
    let gateway = gateway(&upstream).start();
    for (sent, expected) in [
        (r#"{"model":"fast"}"#, r#"{"model":"gpt-4o-mini"}"#),
        (
            " {\r\n\"x\" : \"fast\", \"mod\\u0065l\"\t: \"f\\u0061st\" ,\"n\":1.0 } \n",
            " {\r\n\"x\" : \"fast\", \"mod\\u0065l\"\t: \"gpt-4o-mini\" ,\"n\":1.0 } \n",
        ),
        (
            r#"{"model":"fast","a":{"model":"fast"},"model":"long"}"#,
            r#"{"model":"fast","a":{"model":"fast"},"model":"org/team/model-with-a-very-long-name-0123456789"}"#,
        ),
        (r#"{"model":"a \"b\""}"#, r#"{"model":"gp\"t"}"#),
        (r#"{"model":"faster"}"#, r#"{"model":"faster"}"#),
        (
            r#"{"model":"fast","model":null}"#,
            r#"{"model":"fast","model":null}"#,
        ),
        (r#"{"model":"fast""#, r#"{"model":"fast""#),
        (
            "{\"model\":\"fast\",\"x\":\"\u{e9}\u{1F600}\"}",
            "{\"model\":\"gpt-4o-mini\",\"x\":\"\u{e9}\u{1F600}\"}",
        ),
    ] {
        assert_arrives(&gateway, &upstream, sent.as_bytes(), expected.as_bytes());
    }
}

#[test]
fn bodies_in_memory_and_in_files_of_every_size() {
    for buffers in ["1k", "16k", "16m"] {
        let upstream = RawUpstream::bind();
        let gateway = gateway(&upstream)
            .location(&format!(
                "client_body_buffer_size {buffers}; client_max_body_size 16m;"
            ))
            .start();
        for size in [10, 900, 1_500, 20_000, 100_000, 10 << 20] {
            let (sent, expected) = (large(size, "\"fast\""), large(size, "\"gpt-4o-mini\""));
            assert_arrives(&gateway, &upstream, &sent, &expected);
        }
    }
}

/// The part of a body that comes with its head lies in another buffer than the rest.
#[test]
fn a_body_that_comes_in_two_parts_may_be_cut_anywhere() {
    let upstream = RawUpstream::bind();
    let gateway = gateway(&upstream).start();
    let (sent, expected) = (
        r#"{"model":"fast","n":1}"#,
        r#"{"model":"gpt-4o-mini","n":1}"#,
    );
    for cut in 0..sent.len() {
        let (early, late) = sent.split_at(cut);
        let mut client = gateway.connect();
        client.send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\
             \r\n{early}",
            sent.len()
        ));
        // nginx says so when it reads the body, and has the early part by then.
        client.read_until("100 Continue");
        client.send(late);
        let mut exchange = upstream.accept();
        assert_eq!(
            String::from_utf8_lossy(&exchange.body),
            expected,
            "cut at {cut}"
        );
        exchange.answer();
        client.read_to_end();
    }
}

#[test]
fn a_body_that_comes_in_chunks() {
    let upstream = RawUpstream::bind();
    for buffer in ["1k", "1m"] {
        let gateway = gateway(&upstream)
            .location(&format!("client_body_buffer_size {buffer};"))
            .start();
        let (sent, expected) = (large(5_000, "\"fast\""), large(5_000, "\"gpt-4o-mini\""));
        let mut client = gateway.connect();
        client.send(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        for chunk in sent.chunks(7) {
            client
                .send(format!("{:x}\r\n", chunk.len()))
                .send(chunk)
                .send("\r\n");
        }
        client.send("0\r\n\r\n");
        let mut exchange = upstream.accept();
        assert!(exchange.body == expected);
        assert_eq!(exchange.header("transfer-encoding"), None);
        exchange.answer();
        client.read_to_end();
    }
}

#[test]
fn a_request_that_is_sent_once_more_is_the_same() {
    for (size, buffer) in [(100, "16k"), (3_000_000, "1k"), (3_000_000, "4m")] {
        let (broken, sound) = (RawUpstream::bind(), RawUpstream::bind());
        let servers = format!(
            "upstream two {{ server {} max_fails=0; server {} backup; }}",
            broken.address(),
            sound.address()
        );
        let gateway = plan(
            "127.0.0.1:1",
            "model * to=local@two; alias fast gpt-4o-mini;",
        )
        .http(&servers)
        .location(&format!(
            "client_body_buffer_size {buffer}; client_max_body_size 8m;"
        ))
        .location("proxy_next_upstream error non_idempotent;")
        .start();
        let (sent, expected) = (large(size, "\"fast\""), large(size, "\"gpt-4o-mini\""));
        let client = gateway.chat_with(sent).spawn();
        let first = broken.accept();
        assert!(first.body == expected);
        first.reset();
        let mut second = sound.accept();
        assert!(second.body == expected, "{size} bytes, buffer of {buffer}");
        second.answer();
        client.join().expect("an answer").expect_status(200);
    }
}

#[test]
fn another_attempt_has_the_same_body() {
    for size in [100, 3_000_000] {
        let upstream = RawUpstream::bind();
        let gateway = gateway(&upstream)
            .pool("local", "key sk-e2e-one; key sk-e2e-two;")
            .location("client_body_buffer_size 1k; client_max_body_size 8m;")
            .start();
        let (sent, expected) = (large(size, "\"fast\""), large(size, "\"gpt-4o-mini\""));
        let client = gateway.chat_with(sent).spawn();
        let mut first = upstream.accept();
        assert!(first.body == expected);
        first.send("HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let mut second = upstream.accept();
        assert!(second.body == expected, "{size} bytes");
        assert_ne!(
            first.header("authorization"),
            second.header("authorization")
        );
        second.answer();
        client.join().expect("an answer").expect_status(200);
    }
}

#[test]
fn what_the_configuration_sends_as_the_body_stays() {
    let upstream = RawUpstream::bind();
    for (directives, body) in [
        (
            "proxy_set_body '{\"model\":\"fast\"}';",
            r#"{"model":"fast"}"#,
        ),
        (
            "proxy_pass_request_body off; proxy_set_header Content-Length \"\";",
            "",
        ),
    ] {
        let gateway = gateway(&upstream).location(directives).start();
        let exchange = arrives(&gateway, &upstream, br#"{"model":"fast","n":1}"#);
        assert_eq!(String::from_utf8_lossy(&exchange.body), body);
        let length = (!body.is_empty()).then(|| body.len().to_string());
        assert_eq!(exchange.header("content-length"), length.as_deref());
    }
}

#[test]
fn the_next_location_sees_the_clients_body() {
    let upstream = RawUpstream::bind();
    let gateway = gateway(&upstream)
        .location("openai_next_key off; proxy_intercept_errors on; error_page 500 = @plain;")
        .server("location @plain { openai local; proxy_pass http://local; }")
        .start();
    let sent = r#"{"model":"fast"}"#;
    let client = gateway.chat_with(sent).spawn();
    let mut first = upstream.accept();
    assert_eq!(first.body, br#"{"model":"gpt-4o-mini"}"#);
    first.send("HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let mut second = upstream.accept();
    assert_eq!(String::from_utf8_lossy(&second.body), sent);
    assert_eq!(second.header("content-length"), Some("16"));
    second.answer();
    client.join().expect("an answer").expect_status(200);
}

#[test]
fn what_is_not_json_has_no_alias() {
    let upstream = RawUpstream::bind();
    let gateway = gateway(&upstream).start();
    let sent = r#"{"model":"fast"}"#;
    let call = Call::new("POST", gateway.url("/v1/audio/transcriptions"));
    let call = call.header("content-type", "text/plain").body(sent);
    let client = call.spawn();
    let mut exchange = upstream.accept();
    assert_eq!(String::from_utf8_lossy(&exchange.body), sent);
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
}

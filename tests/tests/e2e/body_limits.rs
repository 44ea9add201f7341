//! Large bodies, and bodies that come in other ways.

use e2e::{Call, Plan, RawUpstream, Refusal};

/// A chat request of about this size, with what the gateway looks for at its end.
fn large(bytes: usize) -> Vec<u8> {
    let mut body = br#"{"messages":[{"role":"user","content":""#.to_vec();
    body.extend((0..bytes).map(|at| b"abcdefghijklmnopqrstuvwxyz \\\\"[at % 29]));
    if body.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1 {
        body.push(b'\\');
    }
    body.extend_from_slice(br#""}],"model":"gpt-4o","stream":true,"user":"u-1"}"#);
    body
}

fn too_large() -> Refusal {
    Refusal::new(413, "invalid_request_error", Some("request_too_large"))
}

#[test]
fn a_body_in_a_temporary_file_arrives_untouched_and_is_looked_at() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .location("client_body_buffer_size 1k; client_max_body_size 64m;")
        .upstream(upstream.address())
        .start();
    let body = large(10 << 20);
    let client = gateway.chat_with(body.clone()).spawn();
    let mut exchange = upstream.accept();
    assert!(
        exchange.body == body,
        "{} of {} bytes",
        exchange.body.len(),
        body.len()
    );
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
    let line = &gateway.logged(1)[0];
    assert_eq!((line.model.as_str(), line.user.as_str()), ("gpt-4o", "u-1"));
    assert_eq!(line.stream, "true");
}

#[test]
fn a_body_of_32_mib_is_looked_at_in_memory_and_in_a_file() {
    let gateway = Plan::new()
        .location("client_max_body_size 64m; client_body_buffer_size 34m;")
        .server(
            "location /v1/filed/ {
                openai main; client_max_body_size 64m; client_body_in_file_only clean;
                proxy_pass http://upstream;
             }",
        )
        .start();
    let mut body = large((32 << 20) - 200);
    assert!(body.len() < 32 << 20, "just below the default limit");
    body.resize(32 << 20, b' ');
    for path in ["/v1/memory/x", "/v1/filed/x"] {
        let answer = Call::json(gateway.url(path), body.clone())
            .send()
            .expect_status(200);
        assert_eq!(answer.json()["body_bytes"], body.len());
    }
    assert!(gateway.logged(2).iter().all(|line| line.model == "gpt-4o"));
}

#[test]
fn a_body_above_the_limit_passes_unseen() {
    let gateway = Plan::new().location("openai_inspect_max_size 1k;").start();
    for body in [large(100), large(2_000)] {
        gateway.chat_with(body).send().expect_status(200);
    }
    let lines = gateway.logged(2);
    let models: Vec<_> = lines.iter().map(|line| line.model.as_str()).collect();
    assert_eq!(models, ["gpt-4o", ""]);
}

#[test]
fn a_body_above_the_limit_is_refused_where_a_directive_asks_for_it() {
    let gateway = Plan::new()
        .location("openai_inspect_max_size 1k; openai_inspect_oversize reject;")
        .start();
    gateway.chat_with(large(100)).send().expect_status(200);
    assert_eq!(
        gateway.chat_with(large(2_000)).send().refusal(),
        too_large()
    );
    assert_eq!(gateway.mock().stats().totals.requests, 1);
    assert_eq!(gateway.logged(2)[1].lease_status, "none");
}

#[test]
fn nginxs_own_limit_refuses_in_the_same_form() {
    let gateway = Plan::new().location("client_max_body_size 1k;").start();
    assert_eq!(
        gateway.chat_with(large(2_000)).send().refusal(),
        too_large()
    );
    assert_eq!(gateway.mock().stats().totals.requests, 0);
}

#[test]
fn a_chunked_body_arrives_whole_and_is_looked_at() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let mut client = gateway.connect();
    client.send(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let body = r#"{"model":"gpt-4o","stream":true}"#;
    for byte in body.chars() {
        client.send(format!("1\r\n{byte}\r\n"));
    }
    client.send("0\r\n\r\n");
    let mut exchange = upstream.accept();
    assert_eq!(String::from_utf8_lossy(&exchange.body), body);
    exchange.answer();
    assert_eq!(client.answer().status, 200);
    let line = &gateway.logged(1)[0];
    assert_eq!(
        (line.model.as_str(), line.stream.as_str()),
        ("gpt-4o", "true")
    );
}

#[test]
fn a_client_that_waits_for_100_continue_gets_the_error() {
    let gateway = Plan::new().start();
    let mut client = gateway.connect();
    let body = r#"{"model":"gpt-4o","stream":true}"#;
    client.send(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    client.read_until("HTTP/1.1 100 Continue\r\n\r\n");
    client.send(body);
    assert!(client.read_to_end().contains("data: [DONE]"));
}

#[test]
fn proxy_request_buffering_off_changes_nothing() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .location("proxy_request_buffering off; client_max_body_size 64m;")
        .upstream(upstream.address())
        .start();
    let body = large(1 << 20);
    let client = gateway.chat_with(body.clone()).spawn();
    let mut exchange = upstream.accept();
    assert!(
        exchange.body == body,
        "{} of {} bytes",
        exchange.body.len(),
        body.len()
    );
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
    assert_eq!(gateway.logged(1)[0].model, "gpt-4o");
}

#[test]
fn no_slot_is_held_while_a_body_is_still_coming() {
    let gateway = Plan::new().start();
    let mut slow = gateway.connect();
    slow.send(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: 100\r\n\r\n{",
    );
    // The slow client was here first, and yet the slot is free for others.
    gateway.chat().send().expect_status(200);
    assert_eq!(gateway.logged(1)[0].lease_status, "immediate");
    slow.send(" ".repeat(99));
    assert!(slow.read_to_end().contains("data: [DONE]"));
}

//! Upstreams and settings that meet another attempt where nginx has ways of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use e2e::{Call, Plan, RawUpstream, closed_port, post};

use super::{key, key_gets, keys, plan, uses};

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// A FastCGI record of the first request.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len())
        .expect("a short record")
        .to_be_bytes();
    let head = [1, kind, 0, 1, length[0], length[1], 0, 0];
    [&head, content].concat()
}

#[test]
fn nginx_tries_fastcgi_servers_in_turn() {
    let servers = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let [first, second] = servers
        .each_ref()
        .map(|server| server.local_addr().expect("it is bound"));
    let gateway = Plan::new()
        .http(&format!(
            "upstream pair {{ server {first}; server {second}; }}"
        ))
        .proxied(
            "fastcgi_param REQUEST_METHOD $request_method;
             fastcgi_next_upstream error non_idempotent;
             fastcgi_pass pair;",
        )
        .start();
    let client = gateway.chat().spawn();
    for (at, server) in servers.iter().enumerate() {
        let (mut stream, _) = server.accept().expect("nginx connects");
        let n = stream.read(&mut [0; 4096]).expect("nginx sends a request");
        assert!(n > 0);
        if at == 1 {
            let answer = b"Status: 200 OK\r\nContent-Type: application/json\r\n\r\n{}";
            let answer = [record(6, answer), record(3, &[0; 8])].concat();
            stream.write_all(&answer).expect("nginx reads the answer");
        }
    }
    assert_eq!(
        client.join().expect("an answer").expect_status(200).text(),
        "{}"
    );
    gateway.wait_held(0, 0);
}

#[test]
fn an_answer_that_nginx_intercepts_is_judged_once() {
    for status in [502, 504] {
        let gateway = plan(3, &format!("[[fault]]\nstatus = {status}"))
            .location("openai_next_key error timeout; proxy_intercept_errors on;")
            .location("error_page 502 504 = @sorry;")
            .server("location @sorry { return 200 sorry; }")
            .start();
        assert_eq!(gateway.chat().send().expect_status(200).text(), "sorry");
        gateway.wait_held(0, 0);
        assert_eq!(gateway.mock().stats().totals.requests, 1, "{status}");
    }
}

#[test]
fn an_upstream_that_never_answers_is_not_tried_for_ever() {
    let (one, two) = (closed_port(), closed_port());
    let dead = format!("upstream dead {{ server 127.0.0.1:{one}; server 127.0.0.1:{two}; }}");
    let gateway = Plan::new()
        .http(&dead)
        .location("openai_next_key_tries 0; openai_next_key_timeout 0; openai_attempts_header on;")
        .proxied("proxy_pass http://dead;")
        .start();
    let answer = gateway.chat().send();
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("x-openai-attempts"), Some("2"));
}

#[test]
fn an_early_answer_cuts_a_body_short_that_is_sent_again_whole() {
    for buffer in ["16k", "16m"] {
        let upstream = RawUpstream::bind();
        let gateway = Plan::new()
            .upstream(upstream.address())
            .location(&format!(
                "client_max_body_size 32m; client_body_buffer_size {buffer};"
            ))
            .start();
        let body = serde_json::json!({ "model": "m", "x": "x".repeat(8 << 20) }).to_string();
        let client = gateway.chat_with(body.clone()).spawn();
        let mut early = upstream.accept_unread();
        early.send(BUSY);
        let mut second = upstream.accept();
        assert!(second.body == body.as_bytes(), "{buffer}");
        second.answer();
        client.join().expect("an answer").expect_status(200);
        drop(early);
    }
}

#[test]
fn an_answer_that_is_no_http_is_tried_again() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let client = gateway.chat().spawn();
    upstream.accept().send("SSH-2.0-OpenSSH_9.2\r\n");
    upstream.accept().answer();
    let answer = client.join().expect("an answer").expect_status(200);
    assert_eq!(answer.text(), "{}");
}

#[test]
fn an_error_without_end_is_judged_by_its_beginning() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .pool("main", &keys(2))
        .upstream(upstream.address())
        .start();
    let client = gateway.chat().spawn();
    let mut endless = upstream.accept();
    let head = "HTTP/1.1 429 Too Many Requests\r\nTransfer-Encoding: chunked\r\n\r\n";
    endless.send(head);
    let chunk = format!("400\r\n{}\r\n", "[".repeat(0x400));
    while endless.try_send(&chunk) {}
    let mut second = upstream.accept();
    assert_eq!(
        second.header("authorization"),
        Some(&*format!("Bearer {}", key(2)))
    );
    second.answer();
    client.join().expect("an answer").expect_status(200);
}

#[test]
fn pipelined_requests_are_each_tried_again() {
    let gateway = plan(2, &key_gets(1, "status = 503\ntimes = 1")).start();
    let kept = post("", "{}").replace("Connection: close\r\n", "");
    let mut client = gateway.connect();
    client.send(format!("{kept}{}", post("", "{}")));
    let text = client.read_to_end();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    gateway.wait_held(0, 0);
    assert_eq!(uses(&gateway, 2).iter().sum::<u64>(), 3);
}

#[test]
fn a_head_request_is_tried_again() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let mut client = gateway.connect();
    client.send("HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    drop(upstream.accept());
    upstream.accept().send(BUSY);
    upstream
        .accept()
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text()), (200, ""));
    gateway.wait_held(0, 0);
}

#[test]
fn a_mirror_is_made_once() {
    for with_body in ["on", "off"] {
        let gateway = plan(2, &key_gets(1, "status = 503"))
            .location(&format!("mirror /copy; mirror_request_body {with_body};"))
            .server("location = /copy { internal; log_subrequest on; return 204; }")
            .start();
        gateway.chat().send().expect_status(200);
        gateway.wait_held(0, 0);
        let copies = gateway.logged(2);
        assert_eq!(copies.len(), 2, "{with_body}");
    }
}

#[test]
fn a_file_is_looked_for_once() {
    let gateway = plan(2, &key_gets(1, "status = 503"))
        .location("root {dir}; try_files $uri/completions =404;")
        .start();
    let file = gateway.dir().join("v1/chat/completions");
    fs::create_dir_all(file.parent().expect("a directory")).expect("it can be made");
    fs::write(file, "").expect("a file");
    let body = r#"{"model":"gpt-4o"}"#;
    Call::json(gateway.url("/v1/chat"), body)
        .send()
        .expect_status(200);
    assert_eq!(uses(&gateway, 2), [1, 1]);
}

#[test]
fn a_chunked_error_without_a_code_is_judged_at_its_end() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    for trailer in ["", "X-Sum: 1\r\n"] {
        let mut client = gateway.connect();
        client.send(post("", "{}"));
        let mut exchange = upstream.accept();
        exchange.send(
            "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nTrailer: X-Sum\r\n\
             Transfer-Encoding: chunked\r\n\r\n9\r\n{\"error\":\r\n",
        );
        exchange.send(format!("3\r\n{{}}}}\r\n0\r\n{trailer}\r\n"));
        assert_eq!(client.answer().status, 403);
    }
}

#[test]
fn a_stale_copy_is_served_when_no_attempt_succeeds() {
    let gateway = plan(3, "")
        .http("proxy_cache_path {dir}/cache keys_zone=copies:1m;")
        .location(
            "proxy_cache copies; proxy_cache_methods POST; proxy_cache_key $request_uri;
             proxy_cache_valid 200 1s; proxy_ignore_headers Cache-Control Expires Set-Cookie;
             proxy_cache_lock on; proxy_cache_use_stale error timeout http_500;
             add_header X-Cache $upstream_cache_status always;",
        )
        .start();
    gateway.chat().send().expect_status(200);
    let stale = e2e::wait_for("the copy is stale", || {
        let failing = gateway.chat().header("x-mock-status", "500");
        let answer = failing.send().expect_status(200);
        (answer.header("x-cache") == Some("STALE")).then_some(answer)
    });
    assert_eq!(stale.said(), "powered by openai");
    gateway.wait_held(0, 0);
    assert_eq!(gateway.mock().stats().totals.requests, 3);
}

//! Answers reach the client whole, unchanged, and as they come.

use e2e::{Gateway, Plan, RawUpstream, post};

/// The upstream sends a chunk only after the client has seen the one before it: whatever holds
/// chunks back would never see the next.
fn each_event_is_seen_before_the_next_is_sent(gateway: &Gateway, upstream: &RawUpstream) {
    let client = gateway.chat().spawn_events();
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("0");
    let mut events = client.join().expect("a head and an event");
    assert_eq!(events.status, 200);
    assert_eq!(events.next().as_deref(), Some("0"));
    for number in 1..20 {
        let number = number.to_string();
        exchange.event(&number);
        assert_eq!(events.next().as_deref(), Some(number.as_str()));
    }
    exchange.end_stream();
    assert_eq!(events.next().as_deref(), Some("[DONE]"));
    assert_eq!(events.next(), None);
}

#[test]
fn every_chunk_arrives_when_it_is_sent_with_buffering_left_at_its_default() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    each_event_is_seen_before_the_next_is_sent(&gateway, &upstream);
}

#[test]
fn every_chunk_arrives_when_it_is_sent_with_buffering_asked_for() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .upstream(upstream.address())
        .location("proxy_buffering on;")
        .start();
    each_event_is_seen_before_the_next_is_sent(&gateway, &upstream);
}

#[test]
fn every_chunk_arrives_when_it_is_sent_to_a_proxy_of_http_1_0() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .upstream(upstream.address())
        .proxied("proxy_pass http://upstream;")
        .start();
    let client = gateway.chat().spawn_events();
    let mut exchange = upstream.accept();
    assert!(exchange.head.contains(" HTTP/1.0"), "{}", exchange.head);
    exchange.send("HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    exchange.send("data: first\n\n");
    let mut events = client.join().expect("a head and an event");
    assert_eq!(events.next().as_deref(), Some("first"));
    exchange.send("data: second\n\n");
    assert_eq!(events.next().as_deref(), Some("second"));
    drop(exchange);
    assert_eq!(events.next(), None);
}

#[test]
fn a_stream_arrives_whole() {
    let gateway = Plan::new().start();
    let answer = gateway.chat().send().expect_status(200);
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    assert_eq!(answer.said(), "powered by openai");
    assert!(
        answer.text().ends_with("data: [DONE]\n\n"),
        "{}",
        answer.text()
    );
    assert_eq!(
        answer.text().matches("gpt-4o").count(),
        5,
        "the model, in every chunk"
    );
}

#[test]
fn a_long_stream_arrives_whole() {
    let gateway = Plan::new().start();
    let answer = gateway
        .chat()
        .header("x-mock-words", "20000")
        .send()
        .expect_status(200);
    assert_eq!(answer.said().split_whitespace().count(), 20_000);
}

#[test]
fn an_answer_that_is_not_streamed_arrives_as_json() {
    let gateway = Plan::new().start();
    let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = gateway.chat_with(body).send().expect_status(200);
    assert_eq!(answer.json()["object"], "chat.completion");
    assert_eq!(answer.json()["model"], "gpt-4o");
    assert_eq!(answer.said(), "powered by openai");
}

#[test]
fn status_and_headers_of_the_upstream_are_the_clients() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let client = gateway.chat().spawn();
    let body = r#"{"error":{"message":"slow down","type":"requests","param":null,"code":null}}"#;
    upstream.accept().send(format!(
        "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/json\r\nRetry-After: 7\r\nRetry-After-Ms: 6500\r\n\
         X-RateLimit-Remaining-Requests: 0\r\nX-RateLimit-Reset-Requests: 6m0s\r\n\
         X-Request-Id: req_1\r\nOpenAI-Processing-Ms: 12\r\nOpenAI-Version: 2020-10-01\r\n\r\n{body}",
        body.len()
    ));
    let answer = client.join().expect("an answer").expect_status(429);
    for (name, value) in [
        ("content-type", "application/json"),
        ("retry-after", "7"),
        ("retry-after-ms", "6500"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "6m0s"),
        ("x-request-id", "req_1"),
        ("openai-processing-ms", "12"),
        ("openai-version", "2020-10-01"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(answer.text(), body);
}

#[test]
fn an_error_of_the_upstream_stays_as_it_is() {
    let gateway = Plan::new().start();
    let answer = gateway
        .chat()
        .header("x-mock-status", "503")
        .send()
        .expect_status(503);
    let refusal = answer.refusal();
    assert_eq!(
        (refusal.kind.as_str(), refusal.code),
        ("server_error", None)
    );
    assert!(
        answer.text().contains("currently overloaded"),
        "the upstream's own: {}",
        answer.text()
    );
}

#[test]
fn models_are_listed() {
    let gateway = Plan::new().start();
    let answer = gateway.get("/v1/models").send().expect_status(200);
    assert_eq!(answer.json()["object"], "list");
    let line = &gateway.logged(1)[0];
    assert_eq!(
        (line.key_id.as_str(), line.lease_status.as_str()),
        ("main", "immediate")
    );
    assert_eq!((line.model.as_str(), line.stream.as_str()), ("", ""));
}

#[test]
fn a_multipart_upload_arrives_whole() {
    const FILE: usize = 5 << 20;
    let gateway = Plan::new().location("client_max_body_size 64m;").start();
    let mut body = b"--border\r\nContent-Disposition: form-data; name=\"file\"; \
        filename=\"a.jsonl\"\r\n\r\n"
        .to_vec();
    body.resize(body.len() + FILE, b'x');
    body.extend_from_slice(b"\r\n--border--\r\n");
    let answer = e2e::Call::new("POST", gateway.url("/v1/files"))
        .header("content-type", "multipart/form-data; boundary=border")
        .body(body.clone())
        .send()
        .expect_status(200);
    assert_eq!(answer.json()["body_bytes"], body.len());
    assert_eq!(gateway.logged(1)[0].key_id, "main");
}

#[test]
fn any_other_path_and_method_passes_with_a_key() {
    let gateway = Plan::new().start();
    for (method, path) in [
        ("DELETE", "/v1/files/file-1"),
        ("GET", "/v1/assistants"),
        ("PUT", "/v1/x%20y"),
        ("POST", "/v1/batches"),
    ] {
        let answer = e2e::Call::new(method, gateway.url(path))
            .send()
            .expect_status(200);
        assert_eq!(answer.json()["method"], method);
        assert_eq!(answer.json()["path"], path);
    }
    assert!(gateway.logged(4).iter().all(|line| line.key_id == "main"));
}

/// What a client has by the last word that it reads, and in the end.
fn last_words(in_location: &str) -> (String, String) {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .upstream(upstream.address())
        .location(in_location)
        .start();
    let mut client = gateway.connect();
    client.send(post("", "{}"));
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("first");
    client.read_until("first\n\n");
    exchange.send("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    let text = client.read_until("[DONE]");
    let end = client.read_to_end();
    gateway.wait_held(0, 0);
    (text, end)
}

#[test]
fn the_last_words_and_the_end_are_one_piece() {
    let (text, end) = last_words("");
    assert!(text.ends_with("[DONE]\n\n\r\n0\r\n\r\n"), "{text:?}");
    assert_eq!(text, end, "nothing comes after it");
}

#[test]
fn trailers_of_nginx_stay_behind_the_last_words() {
    let (_, end) = last_words("add_trailer X-Lease $openai_pool;");
    let wanted = "[DONE]\n\n\r\n0\r\nX-Lease: main\r\n\r\n";
    assert!(end.ends_with(wanted), "{end:?}");
}

#[test]
fn what_nginx_adds_behind_an_answer_stays_behind_it() {
    let end = "data: [DONE]\n\n\r\n4\r\nmore\r\n0\r\n\r\n";
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .upstream(upstream.address())
        .location("addition_types text/event-stream; add_after_body /more;")
        .server("location = /more { return 200 more; }")
        .start();
    let mut client = gateway.connect();
    client.send(post("", "{}"));
    let mut exchange = upstream.accept();
    exchange
        .begin_stream()
        .send("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    let text = client.read_to_end();
    assert!(text.ends_with(end), "{text:?}");
    gateway.wait_held(0, 0);
}

/// nginx would go on reading while a client is slow.
#[test]
fn what_an_upstream_sends_behind_its_answer_is_no_part_of_it() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let mut client = gateway.connect();
    client.send(post("", "{}"));
    let mut exchange = upstream.accept();
    exchange.begin_stream();
    let sending = std::thread::spawn(move || {
        let line = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
        for _ in 0..1_024 {
            exchange.send(&line);
        }
        exchange.send("4\r\nlast\r\n0\r\n\r\n");
        exchange.try_send("6\r\nbehind\r\n0\r\n\r\n");
        exchange
    });
    // All is under way, and more than the buffers of sockets hold.
    gateway.wait_held(1, 0);
    let text = client.read_to_end();
    assert!(
        text.ends_with("last\r\n0\r\n\r\n"),
        "{:?}",
        text.get(text.len() - 40..)
    );
    drop(sending.join().expect("nginx takes all"));
    gateway.wait_held(0, 0);
}

//! Clients of HTTP/2, played by curl.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use e2e::{Gateway, Plan, RawUpstream};

use crate::failover;

pub fn curl(gateway: &Gateway, path: &str) -> Command {
    let port = gateway.tls_port();
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--no-buffer",
        "--http2",
        "--max-time",
        "60",
    ])
    .args([
        "--noproxy",
        "*",
        "--resolve",
        &format!("localhost:{port}:127.0.0.1"),
    ])
    .arg("--cacert")
    .arg(gateway.dir().join("localhost.crt"))
    .arg(format!("https://localhost:{port}{path}"));
    curl
}

fn chat(gateway: &Gateway) -> Command {
    let mut curl = curl(gateway, "/v1/chat/completions");
    curl.args(["--json", r#"{"model":"gpt-4o","stream":true}"#]);
    curl
}

/// curl's output, and what it said of the exchange after it.
pub fn run(mut curl: Command) -> String {
    let output = curl
        .args(["-w", "\n%{http_version} %{http_code}"])
        .output()
        .expect("curl runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn streaming(gateway: &Gateway) -> (Child, impl BufRead) {
    let mut child = chat(gateway)
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl runs");
    let stdout = child.stdout.take().expect("its output is piped");
    (child, BufReader::new(stdout))
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).expect("curl's output");
    line
}

#[test]
fn a_stream_arrives_whole_over_http2() {
    let gateway = Plan::new().tls().start();
    let output = run(chat(&gateway));
    assert!(output.ends_with("data: [DONE]\n\n\n2 200"), "{output}");
    let line = &gateway.logged(1)[0];
    assert_eq!(
        (line.model.as_str(), line.stream.as_str()),
        ("gpt-4o", "true")
    );
}

#[test]
fn a_request_over_http2_is_sent_again_with_the_next_key() {
    for fault in ["status = 503", "reset-after = 0"] {
        let gateway = failover::plan(2, &failover::key_gets(1, fault))
            .tls()
            .start();
        for _ in 0..2 {
            let output = run(chat(&gateway));
            assert!(output.ends_with("data: [DONE]\n\n\n2 200"), "{output}");
        }
        gateway.wait_held(0, 0);
        assert_eq!(failover::uses(&gateway, 2), [2, 2]);
    }
}

#[test]
fn a_request_without_a_body_gets_a_key_over_http2() {
    let gateway = Plan::new().tls().start();
    let output = run(curl(&gateway, "/v1/models"));
    assert!(output.ends_with("\n2 200"), "{output}");
    assert_eq!(gateway.logged(1)[0].key_id, "main");
}

#[test]
fn every_chunk_arrives_over_http2_when_it_is_sent() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().tls().upstream(upstream.address()).start();
    let (mut curl, mut output) = streaming(&gateway);
    let mut exchange = upstream.accept();
    exchange.begin_stream();
    for number in 0..10 {
        exchange.event(&number.to_string());
        assert_eq!(line(&mut output), format!("data: {number}\n"));
        assert_eq!(line(&mut output), "\n");
    }
    exchange.end_stream();
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("curl's output");
    assert_eq!(rest, "data: [DONE]\n\n");
    assert!(curl.wait().expect("curl ends").success());
}

#[test]
fn an_http2_client_that_leaves_frees_the_slot_and_ends_the_upstream_request() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().tls().upstream(upstream.address()).start();
    let (mut curl, mut output) = streaming(&gateway);
    let mut exchange = upstream.accept();
    exchange.begin_stream().event("first");
    assert_eq!(line(&mut output), "data: first\n");
    curl.kill().expect("curl runs");
    curl.wait().expect("curl ends");
    exchange.wait_closed();
    gateway.wait_held(0, 0);
}

#[test]
fn an_http2_client_that_leaves_while_waiting_frees_its_place() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().tls().upstream(upstream.address()).start();
    let holder = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    let (mut curl, _output) = streaming(&gateway);
    gateway.wait_held(1, 1);
    curl.kill().expect("curl runs");
    curl.wait().expect("curl ends");
    gateway.wait_held(1, 0);
    exchange.answer();
    holder.join().expect("an answer").expect_status(200);
}

#[test]
fn a_wrong_token_is_refused_over_http2() {
    let gateway = Plan::new()
        .tls()
        .environment("SERVICE_TOKEN", "token-of-a-service")
        .clients("client app env:SERVICE_TOKEN;")
        .start();
    let output = run(chat(&gateway));
    assert!(output.contains(r#""code":"invalid_api_key""#), "{output}");
    assert!(output.ends_with("\n2 401"), "{output}");
}

#[test]
fn an_alias_in_a_body_of_stated_length_or_none() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .tls()
        .upstream(upstream.address())
        .http("openai_routes models { alias fast gpt-4o-mini; otherwise to=main; }")
        .serves("openai_route models;")
        .start();
    for without in ["x-nothing:", "content-length:"] {
        let mut curl = curl(&gateway, "/v1/chat/completions");
        curl.args(["--json", r#"{"model":"fast"}"#, "-H", without]);
        let client = std::thread::spawn(move || run(curl));
        let mut exchange = upstream.accept();
        let body = String::from_utf8_lossy(&exchange.body);
        assert_eq!(body, r#"{"model":"gpt-4o-mini"}"#);
        exchange.answer();
        assert!(client.join().expect("curl").ends_with("\n2 200"));
    }
}

#[test]
fn every_event_names_the_alias_over_http2() {
    let gateway = Plan::new()
        .tls()
        .http("openai_routes models { alias gpt-4o gpt-5-long-name restore; otherwise to=main; }")
        .serves("openai_route models;")
        .start();
    let output = run(chat(&gateway));
    assert!(output.ends_with("data: [DONE]\n\n\n2 200"), "{output}");
    assert!(!output.contains("gpt-5"), "{output}");
    let events = output.lines().filter(|line| line.starts_with("data: {"));
    let named = output.matches(r#""model":"gpt-4o""#).count();
    assert!(named > 1 && named == events.count(), "{output}");
}

//! Request bodies: passed untouched, whatever they hold, unless a directive asks for more.

use std::thread;

use e2e::{Call, Gateway, Plan, RawUpstream, Refusal};

use crate::http2;

const NOT_JSON: [&str; 10] = [
    " ",
    "{",
    "not json",
    r#"{"model":"gpt-4o""#,
    r#"{"model":"gpt-4o"} {}"#,
    r#"{"model":"gpt-4o",}"#,
    r#"{'model':'gpt-4o'}"#,
    r#"["model"]"#,
    "\"model\"",
    "{\"model\":\"gpt-4o\\x\"}",
];

const WRONG_KIND: [(&str, &str); 6] = [
    (r#"{"model":5}"#, "model"),
    (r#"{"model":["gpt-4o"]}"#, "model"),
    (r#"{"model":"gpt-4o","stream":"true"}"#, "stream"),
    (r#"{"stream":1}"#, "stream"),
    (r#"{"stream_options":true}"#, "stream_options"),
    (r#"{"user":{"id":1}}"#, "user"),
];

const SOUND: [&str; 8] = [
    "{}",
    " \r\n\t{ } ",
    r#"{"model":"gpt-4o","stream":null,"user":null}"#,
    r#"{"n":-1.5e+10,"deep":[[[[{"a":[]}]]]],"t":true}"#,
    r#"{"model":"gpt-4o","model":"gpt-4o-mini"}"#,
    "{\"model\":\"\\u0067pt\\ud83d\\ude00\"}",
    "{\"model\":\"größe\"}",
    r#"{"stream_options":{"include_usage":true},"stream":true}"#,
];

fn rejecting() -> Plan {
    Plan::new().location("openai_inspect_invalid reject;")
}

/// The body must arrive byte by byte as it was sent.
#[track_caller]
fn assert_untouched(gateway: &Gateway, upstream: &RawUpstream, body: &[u8]) {
    let client = gateway.chat_with(body).spawn();
    let mut exchange = upstream.accept();
    assert!(exchange.body == body, "{:?}", String::from_utf8_lossy(body));
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
}

#[test]
fn whatever_a_body_holds_is_passed_untouched() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let wrong_kind = WRONG_KIND.map(|(body, _)| body);
    for body in NOT_JSON.iter().chain(&wrong_kind).chain(&SOUND) {
        assert_untouched(&gateway, &upstream, body.as_bytes());
    }
    assert_untouched(&gateway, &upstream, b"\xff\xfe{\"model\":\"\xc3\x28\"}\0");
    assert_untouched(&gateway, &upstream, "[".repeat(100_000).as_bytes());
    assert_untouched(&gateway, &upstream, "{\"a\":".repeat(100_000).as_bytes());
}

#[test]
fn what_is_not_json_is_refused_where_a_directive_asks_for_it() {
    let gateway = rejecting().start();
    for body in NOT_JSON {
        let refusal = gateway.chat_with(body).send().refusal();
        assert_eq!(
            refusal,
            Refusal::new(400, "invalid_request_error", None),
            "{body:?}"
        );
    }
    let refusal = gateway.chat_with("[".repeat(100_000)).send().refusal();
    assert_eq!(refusal.status, 400);
    assert_eq!(gateway.mock().stats().totals.requests, 0);
    let lines = gateway.logged(NOT_JSON.len() + 1);
    assert!(
        lines.iter().all(|line| line.lease_status == "none"),
        "a refusal costs no lease"
    );
}

#[test]
fn a_field_of_the_wrong_kind_is_refused_where_a_directive_asks_for_it() {
    let gateway = rejecting().start();
    for (body, param) in WRONG_KIND {
        let refusal = gateway.chat_with(body).send().refusal();
        let expected = Refusal::new(400, "invalid_request_error", None).about(param);
        assert_eq!(refusal, expected, "{body}");
    }
    assert_eq!(gateway.mock().stats().totals.requests, 0);
}

#[test]
fn what_is_sound_passes_where_a_directive_asks_for_it() {
    let gateway = rejecting().start();
    for body in SOUND {
        gateway.chat_with(body).send().expect_status(200);
    }
}

#[test]
fn json_that_is_no_object_passes_where_nothing_is_read_from_it() {
    let upstream = RawUpstream::bind();
    let gateway = rejecting().upstream(upstream.address()).start();
    let post = |path: &str, body: &str| {
        Call::new("POST", gateway.url(path))
            .header("content-type", "application/json")
            .body(body.to_owned())
    };
    for body in ["[1, {\"model\": 5}]", " \"text\" ", "17", "null"] {
        let client = post("/v1/vector_stores/v/search", body).spawn();
        let mut exchange = upstream.accept();
        assert!(exchange.body == body.as_bytes(), "{body}");
        exchange.answer();
        client.join().expect("an answer").expect_status(200);
        let refusal = post("/v1/embeddings", body).send().refusal();
        assert_eq!(refusal.status, 400, "{body}");
    }
    for body in ["[1,", "no json", "1 2"] {
        let refusal = post("/v1/vector_stores/v/search", body).send().refusal();
        assert_eq!(refusal.status, 400, "{body}");
    }
    let wrong = post("/v1/vector_stores/v/search", r#"{"model":5}"#).send();
    assert_eq!(wrong.refusal().param.as_deref(), Some("model"));
}

#[test]
fn only_json_is_looked_at() {
    let gateway = rejecting().start();
    for kind in [
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/octet-stream",
    ] {
        Call::new("POST", gateway.url("/v1/files"))
            .header("content-type", kind)
            .body("no json")
            .send()
            .expect_status(200);
    }
    gateway.get("/v1/models").send().expect_status(200);
    Call::new("DELETE", gateway.url("/v1/files/1"))
        .send()
        .expect_status(200);
}

#[test]
fn a_request_without_a_body_is_no_invalid_json() {
    let upstream = RawUpstream::bind();
    let gateway = rejecting().tls().upstream(upstream.address()).start();
    let passes = || {
        let mut exchange = upstream.accept();
        assert!(exchange.body.is_empty(), "{}", exchange.head);
        exchange.answer();
    };
    for (method, path, length) in [
        ("POST", "/v1/batches/b/cancel", "Content-Length: 0\r\n"),
        ("POST", "/v1/batches/b/cancel", ""),
        ("DELETE", "/v1/files/f", ""),
        ("GET", "/v1/models", ""),
    ] {
        let mut client = gateway.connect();
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\n{length}\r\n"
        ));
        passes();
        client.answer().expect_status(200);
        let mut curl = http2::curl(&gateway, path);
        curl.args(["-X", method, "-H", "content-type: application/json"]);
        let client = thread::spawn(move || http2::run(curl));
        passes();
        assert!(client.join().expect("curl").ends_with("\n2 200"));
    }
}

#[test]
fn a_chunked_body_of_no_bytes_is_no_invalid_json() {
    let gateway = rejecting().start();
    let mut client = gateway.connect();
    client.send(
        "POST /v1/batches/b/cancel HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    client.answer().expect_status(200);
}

#[test]
fn a_route_serves_a_request_without_a_body_as_one_without_a_model() {
    let gateway = rejecting()
        .http("openai_routes models { model gpt-* to=main; }")
        .serves("openai_route models;")
        .start();
    gateway.chat_with("").send().expect_status(200);
    gateway.chat_with(" ").send().expect_status(400);
}

#[test]
fn json_is_recognized_with_parameters_and_in_any_case() {
    let gateway = rejecting().start();
    for kind in [
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/json;x=y",
    ] {
        Call::new("POST", gateway.url("/v1/chat/completions"))
            .header("content-type", kind)
            .body("no json")
            .send()
            .expect_status(400);
    }
}

#[test]
fn with_inspect_off_nothing_is_looked_at() {
    let gateway = rejecting().location("openai_inspect off;").start();
    gateway.chat_with("no json").send().expect_status(200);
    gateway.chat().send().expect_status(200);
    let lines = gateway.logged(2);
    assert!(
        lines
            .iter()
            .all(|line| line.model.is_empty() && line.stream.is_empty())
    );
    assert!(lines.iter().all(|line| line.key_id == "main"));
}

#[test]
fn error_page_has_its_way_with_a_refused_body() {
    let gateway = rejecting()
        .location("error_page 400 = @bad;")
        .server("location @bad { return 422 unprocessable; }")
        .start();
    let answer = gateway.chat_with("{").send().expect_status(422);
    assert_eq!(answer.text(), "unprocessable");
}

#[test]
fn a_refused_body_leaves_the_connection_usable() {
    let gateway = rejecting().start();
    let call = gateway.chat().keep_alive();
    for _ in 0..3 {
        call.clone().body("{").send().expect_status(400);
        call.send().expect_status(200);
    }
}

//! What is read of one answer.

use e2e::{Plan, RawUpstream, wait_until};
use mock_upstream::Scenario;

use super::{PRICES, call, only_line, reported};

/// The mock finds a prompt of five tokens in it.
const MESSAGES: &str = r#"[{"content":"hello"}]"#;

const JSON: &str = "Content-Type: application/json\r\n";

fn chat(more: &str) -> String {
    format!(r#"{{"model":"gpt-4o","messages":{MESSAGES}{more}}}"#)
}

#[test]
fn every_endpoint_reports_what_it_used() {
    let input = format!(r#"{{"model":"gpt-4o","input":{MESSAGES}}}"#);
    let streamed = input.replace("}]}", "}],\"stream\":true}");
    let prompt = input.replace("input", "prompt");
    let include = r#","stream":true,"stream_options":{"include_usage":true}"#;
    let asked = prompt.replace("}]}", &format!("}}]{include}}}"));
    for (path, body, completion) in [
        ("/v1/chat/completions", chat(""), "3"),
        ("/v1/chat/completions", chat(include), "3"),
        ("/v1/completions", prompt, "3"),
        ("/v1/completions", asked, "3"),
        ("/v1/responses", input.clone(), "3"),
        ("/v1/responses", streamed, "3"),
        ("/v1/embeddings", input, "0"),
    ] {
        let gateway = Plan::new().start();
        let answer = call(&gateway, path, &body).send().expect_status(200);
        assert!(answer.text().contains("usage"), "{}", answer.text());
        let line = only_line(&gateway);
        assert_eq!(reported(&line), ("6", completion, "exact"), "{path} {body}");
        assert_eq!(line.cached_tokens, "0");
        assert_eq!(line.cost, "");
    }
}

#[test]
fn an_answer_that_comes_a_byte_at_a_time_reports_the_same() {
    let scenario = Scenario::from_toml("delay = 0\n[[fault]]\nsplit = 1").expect("a scenario");
    let gateway = Plan::new().scenario(scenario).start();
    let body = chat(r#","stream":true,"stream_options":{"include_usage":true}"#);
    let answer = gateway.chat_with(body).send().expect_status(200);
    assert_eq!(answer.said(), "powered by openai");
    assert_eq!(reported(&only_line(&gateway)), ("6", "3", "exact"));
}

#[test]
fn a_large_answer_that_nginx_keeps_in_a_file_is_read_too() {
    let scenario = Scenario::from_toml("delay = 0\nwords = 200000").expect("a scenario");
    let gateway = Plan::new().scenario(scenario).start();
    let mut client = gateway.connect();
    client.send(e2e::post(JSON, &chat("")));
    // The client takes its time, and the answer goes into a temporary file.
    wait_until("the upstream has given its answer", || {
        gateway.mock().stats().totals.in_flight == 0 && gateway.mock().stats().totals.requests == 1
    });
    client.read_until("\"usage\"");
    drop(client);
    assert_eq!(reported(&only_line(&gateway)), ("6", "200000", "exact"));
}

#[test]
fn a_stream_that_does_not_report_is_estimated() {
    let gateway = Plan::new().start();
    gateway
        .chat_with(chat(r#","stream":true"#))
        .send()
        .expect_status(200);
    assert_eq!(reported(&only_line(&gateway)), ("6", "3", "estimated"));
}

#[test]
fn a_stream_whose_client_leaves_is_estimated() {
    let scenario = Scenario::from_toml("delay = \"50ms\"\nwords = 500").expect("a scenario");
    let gateway = Plan::new().scenario(scenario).start();
    let events = gateway.chat_with(chat(r#","stream":true"#)).events();
    assert_eq!(events.take(41).count(), 41, "a role and forty words");
    let line = only_line(&gateway);
    gateway.wait_in_flight(0);
    let url = format!("http://{}/__mock/ledger", gateway.mock().addr());
    let ledger = e2e::Call::new("GET", url).send().json();
    let keys = ledger["keys"].as_object().expect("keys");
    let sent = keys.values().map(|key| &key["completion_tokens"]);
    let sent: u64 = sent.filter_map(serde_json::Value::as_u64).sum();
    let estimated: u64 = line.completion_tokens.parse().expect("a number");
    assert_eq!((&*line.prompt_tokens, &*line.usage), ("6", "estimated"));
    assert!(sent >= 39, "{sent}");
    assert!(
        estimated.abs_diff(sent) * 10 <= sent,
        "{estimated} of {sent}"
    );
}

#[test]
fn the_time_to_the_first_word_is_reported_streams() {
    let scenario = Scenario::from_toml("delay = 0\nfirst-token = \"300ms\"").expect("a scenario");
    let gateway = Plan::new().scenario(scenario).start();
    gateway.chat().send().expect_status(200);
    gateway.chat_with(chat("")).send().expect_status(200);
    let lines = gateway.logged(2);
    let first: u64 = lines[0].first_token_ms.parse().expect("a number");
    assert!((290..10_000).contains(&first), "{first}");
    assert_eq!(lines[1].first_token_ms, "");
}

#[test]
fn a_price_file_reports_the_cost() {
    let gateway = Plan::new()
        .file("prices.json", PRICES)
        .http("openai_prices {dir}/prices.json;")
        .start();
    gateway.chat_with(chat("")).send().expect_status(200);
    let dated = chat("").replace("gpt-4o", "gpt-4o-2024-08-06");
    gateway.chat_with(dated).send().expect_status(200);
    let unknown = chat("").replace("gpt-4o", "another");
    gateway.chat_with(unknown).send().expect_status(200);
    let costs: Vec<_> = gateway
        .logged(3)
        .into_iter()
        .map(|line| line.cost)
        .collect();
    assert_eq!(costs, ["0.000045", "0.000045", ""]);
}

#[test]
fn the_upstream_is_asked_for_plain_answers() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .upstream(upstream.address())
        .server("location /v1/raw { openai main; openai_usage off; proxy_pass http://upstream; }")
        .start();
    for path in ["/v1/models", "/v1/raw"] {
        let client = gateway.get(path).header("Accept-Encoding", "gzip").spawn();
        let mut exchange = upstream.accept();
        assert_eq!(exchange.header("accept-encoding"), None);
        exchange.answer();
        client.join().expect("an answer").expect_status(200);
    }
}

#[test]
fn a_compressed_answer_goes_through_and_reports_nothing() {
    let gateway = Plan::new().start();
    let call = gateway.chat_with(chat("")).header("x-mock-gzip", "true");
    let answer = call.send().expect_status(200);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(reported(&only_line(&gateway)), ("", "", "none"));
}

#[test]
fn nothing_is_read_where_that_is_off() {
    let gateway = Plan::new().location("openai_usage off;").start();
    gateway.chat_with(chat("")).send().expect_status(200);
    assert_eq!(reported(&only_line(&gateway)), ("", "", "none"));
}

#[test]
fn an_error_uses_nothing() {
    let gateway = Plan::new().start();
    gateway
        .chat_with(chat(""))
        .header("x-mock-status", "400")
        .send()
        .expect_status(400);
    assert_eq!(reported(&only_line(&gateway)), ("", "", "none"));
}

#[test]
fn a_stated_limit_is_charged_what_was_used() {
    let gateway = Plan::new()
        .pool("main", "key sk-e2e-usage-1; limit tpm=1000; wait 0;")
        .start();
    // Each may take 900 tokens, and uses 9.
    for _ in 0..3 {
        gateway
            .chat_with(chat(r#","max_tokens":900"#))
            .send()
            .expect_status(200);
    }
}

#[test]
fn a_usage_that_cannot_be_does_not_spoil_the_totals() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .server("location = /metrics { openai_auth off; openai_metrics; }")
        .upstream(upstream.address())
        .start();
    let ask = |prompt: &str| {
        let client = call(&gateway, "/v1/chat/completions", &chat("")).spawn();
        let body = format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":{prompt},"completion_tokens":3}}}}"#
        );
        upstream.accept().send(format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\n{JSON}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.join().expect("an answer").expect_status(200);
    };
    for prompt in [
        "18446744073709551615",
        "100000001",
        "40",
        "18446744073709551616",
    ] {
        ask(prompt);
    }
    let lines = gateway.logged(4);
    let reported: Vec<_> = lines
        .iter()
        .map(|line| (&*line.usage, &*line.prompt_tokens))
        .collect();
    // What cannot be is estimated.
    assert_eq!(reported[2], ("exact", "40"));
    assert!(
        [0, 1, 3].iter().all(|&n| reported[n].0 == "estimated"),
        "{reported:?}"
    );
    let metrics = gateway.get("/metrics").send().expect_status(200);
    let tokens = metrics.text().lines().find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        name.starts_with("openai_tokens_used_total{")
            .then(|| value.parse::<f64>())
    });
    let tokens = tokens.expect("the metric").expect("a number");
    assert!((40.0..1_000.0).contains(&tokens), "{tokens}");
    let log = gateway.error_log().text();
    assert_eq!(
        log.matches("usage_implausible").count(),
        1,
        "it is said once"
    );
}

/// Its usage was counted when it was made.
#[test]
fn a_result_that_is_fetched_later_is_not_counted_again() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let client = gateway.get("/v1/responses/resp_1").spawn();
    let body = r#"{"id":"resp_1","usage":{"input_tokens":100,"output_tokens":9}}"#;
    upstream.accept().send(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(
        client.join().expect("an answer").expect_status(200).text(),
        body
    );
    assert_eq!(reported(&only_line(&gateway)), ("", "", "none"));
}

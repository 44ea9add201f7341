//! How requests are counted that nginx answers with something other than the upstream's response.

use e2e::{Call, Gateway, Plan, RawUpstream, wait_until};

use super::counters::Metrics;

fn plan() -> Plan {
    Plan::new().server("location = /metrics { openai_auth off; openai_metrics; }")
}

/// Waits until so many requests are counted as successful, client errors and upstream errors.
#[track_caller]
fn wait_counted(gateway: &Gateway, expected: [u64; 3]) {
    wait_until("all are counted", || {
        let metrics = Metrics::of(gateway);
        let counted = |status: &str| {
            let label = format!("status=\"{status}\"");
            metrics.value("openai_service_requests_total", &[&label])
        };
        let counted = ["success", "client_error", "upstream_error"].map(counted);
        counted.map(|value| value.unwrap_or(0.0) as u64) == expected
    });
}

#[test]
fn a_copy_from_the_cache_is_a_success() {
    let gateway = plan()
        .http("proxy_cache_path {dir}/cache keys_zone=copies:1m;")
        .location(
            "proxy_cache copies; proxy_cache_methods POST; proxy_cache_key $request_uri;
             proxy_cache_valid 200 10m; proxy_ignore_headers Cache-Control Expires Set-Cookie;
             proxy_cache_lock on; add_header X-Cache $upstream_cache_status always;",
        )
        .start();
    gateway.chat().send().expect_status(200);
    let mut sent = 1;
    let copy = e2e::wait_for("there is a copy", || {
        sent += 1;
        let answer = gateway.chat().send().expect_status(200);
        (answer.header("x-cache") == Some("HIT")).then_some(answer)
    });
    assert_eq!(copy.said(), "powered by openai");
    wait_counted(&gateway, [sent, 0, 0]);
    gateway.wait_held(0, 0);
}

#[test]
fn an_intercepted_response_counts_by_its_status() {
    let gateway = plan()
        .location("proxy_intercept_errors on; error_page 404 /missing; error_page 500 @failed;")
        .server("location = /missing { internal; return 404 'nothing'; }")
        .server("location @failed { return 500 'failed'; }")
        .start();
    let missing = gateway.chat().header("x-mock-status", "404").send();
    assert_eq!((missing.status, missing.text()), (404, "nothing"));
    wait_counted(&gateway, [0, 1, 0]);
    let failed = gateway.chat().header("x-mock-status", "500").send();
    assert_eq!((failed.status, failed.text()), (500, "failed"));
    wait_counted(&gateway, [0, 1, 1]);
    gateway.chat().send().expect_status(200);
    wait_counted(&gateway, [1, 1, 1]);
    gateway.wait_held(0, 0);
}

#[test]
fn no_answer_after_an_error_of_another_server_is_an_upstream_error() {
    let first = RawUpstream::bind();
    let gateway = plan()
        .upstream(format!(
            "{}; server 127.0.0.1:{} backup",
            first.address(),
            e2e::closed_port()
        ))
        .location("openai_next_key off;")
        .proxied("proxy_next_upstream error http_404 non_idempotent; proxy_pass http://upstream;")
        .start();
    let mut client = gateway.connect();
    client.send(e2e::post("", "{}"));
    first
        .accept()
        .send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status, 502);
    wait_counted(&gateway, [0, 0, 1]);
    gateway.wait_held(0, 0);
}

#[test]
fn only_calls_for_a_lock_are_requests_to_a_pool() {
    const TOKEN: &str = "token-of-app";
    let gateway = Plan::new()
        .server("location = /metrics { openai_auth off; openai_metrics; }")
        .server("openai main;")
        .server("location ~ ^/v1/(stats$|lock/) { openai_api on; }")
        .clients("client app env:TOKEN_A role=admin; quota app requests=1/day;")
        .environment("TOKEN_A", TOKEN)
        .start();
    let refused = || {
        let metrics = Metrics::of(&gateway);
        metrics.value("openai_service_requests_total", &["status=\"refused\""])
    };
    gateway
        .get("/v1/stats")
        .token(TOKEN)
        .send()
        .expect_status(200);
    gateway.chat().token(TOKEN).send().expect_status(200);
    wait_counted(&gateway, [1, 0, 0]);
    assert_eq!(refused(), None);
    let acquire = Call::json(gateway.url("/v1/lock/acquire"), r#"{"service_name":"a"}"#);
    acquire.token(TOKEN).send().expect_status(429);
    wait_until("the refusal is counted", || refused() == Some(1.0));
}

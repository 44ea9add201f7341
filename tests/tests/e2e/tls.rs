//! Upstreams of TLS, and connections to upstreams that are used again.

use std::time::Duration;

use e2e::{Certificate, KEY, Plan, RawUpstream, wait_until};
use mock_upstream::{Scenario, Server, Tls};

use crate::failover;

#[test]
fn a_stream_comes_through_a_verified_tls_upstream() {
    let dir = tempfile::tempdir().expect("a directory");
    let certificate = Certificate::create(dir.path());
    let tls = Tls::from_pem_files(&certificate.cert, &certificate.key).expect("a pair");
    let scenario = Scenario::new().delay(Duration::ZERO);
    let mock = Server::new(scenario)
        .tls(tls)
        .start()
        .expect("the mock starts");
    let gateway = Plan::new()
        .upstream(mock.addr().to_string())
        .proxied(&format!(
            "proxy_http_version 1.1; proxy_set_header Connection '';
             proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on;
             proxy_ssl_trusted_certificate {};
             proxy_pass https://upstream;",
            certificate.cert.display()
        ))
        .start();
    for _ in 0..3 {
        let answer = gateway.chat().send().expect_status(200);
        assert_eq!(answer.said(), "powered by openai");
    }
    assert_eq!(mock.stats().key(&format!("Bearer {KEY}")).requests, 3);
    wait_until("nothing is in flight", || {
        mock.stats().totals.in_flight == 0
    });
}

#[test]
fn a_request_to_a_tls_upstream_is_sent_again_with_the_next_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let certificate = Certificate::create(dir.path());
    for fault in ["status = 500", "close-after = 0", "reset-after = 0"] {
        let tls = Tls::from_pem_files(&certificate.cert, &certificate.key).expect("a pair");
        let plan = failover::plan(2, &failover::key_gets(1, fault));
        let scenario = format!("delay = 0\n{}", failover::key_gets(1, fault));
        let scenario = Scenario::from_toml(&scenario).expect("a scenario");
        let mock = Server::new(scenario)
            .tls(tls)
            .start()
            .expect("the mock starts");
        let gateway = plan
            .upstream(mock.addr().to_string())
            .proxied("proxy_http_version 1.1; proxy_pass https://upstream;")
            .start();
        let answer = gateway.chat().send().expect_status(200);
        assert_eq!(answer.said(), "powered by openai");
        gateway.wait_held(0, 0);
        assert_eq!(mock.stats().totals.requests, 2, "{fault}");
    }
}

#[test]
fn a_certificate_that_cannot_be_verified_is_an_unavailable_upstream() {
    let dir = tempfile::tempdir().expect("a directory");
    let certificate = Certificate::create(dir.path());
    let tls = Tls::from_pem_files(&certificate.cert, &certificate.key).expect("a pair");
    let mock = Server::new(Scenario::new())
        .tls(tls)
        .start()
        .expect("the mock starts");
    let gateway = Plan::new()
        .upstream(mock.addr().to_string())
        // The gateway's own certificate, not that of the upstream.
        .proxied(
            "proxy_ssl_verify on; proxy_ssl_name localhost;
             proxy_ssl_trusted_certificate {dir}/localhost.crt;
             proxy_pass https://upstream;",
        )
        .start();
    let refusal = gateway.chat().send().refusal();
    assert_eq!(
        refusal,
        e2e::Refusal::new(502, "server_error", Some("upstream_unavailable"))
    );
    gateway.wait_held(0, 0);
    assert_eq!(mock.stats().totals.requests, 0);
}

#[test]
fn a_connection_to_the_upstream_is_used_again() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let first = gateway.get("/v1/models").spawn();
    let mut exchange = upstream.accept();
    exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    assert_eq!(first.join().expect("an answer").text(), "1");
    let second = gateway.get("/v1/models").spawn();
    exchange.next_request();
    assert_eq!(
        exchange.header("authorization"),
        Some(format!("Bearer {KEY}").as_str())
    );
    exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
    assert_eq!(second.join().expect("an answer").text(), "2");
    assert!(!upstream.is_called(), "no second connection");
}

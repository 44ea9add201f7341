//! Requests that nginx sends elsewhere inside itself, for an error page or on an upstream's word.
//! None leaks a slot, and none waits for a slot that it holds itself.

use e2e::{Plan, RawUpstream, Refusal, closed_port};

use crate::reload;

/// `http` with an upstream that refuses, under the name `nobody`.
fn nobody() -> String {
    format!("upstream nobody {{ server 127.0.0.1:{}; }}", closed_port())
}

#[test]
fn error_page_has_its_way_with_an_upstream_that_refuses() {
    let gateway = Plan::new()
        .http(&nobody())
        .proxied("proxy_pass http://nobody; error_page 502 = @sorry;")
        .server("location @sorry { return 200 sorry; }")
        .start();
    assert_eq!(gateway.chat().send().expect_status(200).text(), "sorry");
    gateway.wait_held(0, 0);
    assert_eq!(
        gateway.logged(1)[0].key_id,
        "main",
        "the log reports the lease it had"
    );
}

#[test]
fn error_page_may_lead_to_a_file_outside() {
    let gateway = Plan::new()
        .http(&nobody())
        .proxied("proxy_pass http://nobody; error_page 502 /sorry.html;")
        .server("location = /sorry.html { internal; root {dir}; }")
        .file("sorry.html", "sorry")
        .start();
    assert_eq!(gateway.chat().send().expect_status(502).text(), "sorry");
    gateway.wait_held(0, 0);
}

#[test]
fn error_page_may_lead_to_another_pool() {
    let gateway = Plan::new()
        .pool("main", "key sk-e2e-main id=m;")
        .pool("other", "key sk-e2e-other id=o;")
        .http(&nobody())
        .proxied("proxy_pass http://nobody; error_page 502 504 = @other;")
        .server("location @other { openai other; proxy_pass http://upstream; }")
        .start();
    let answer = gateway.chat().send().expect_status(200);
    assert_eq!(
        answer.said(),
        "powered by openai",
        "method and body go along"
    );
    let stats = gateway.mock().stats();
    assert_eq!(stats.key("Bearer sk-e2e-other").requests, 1);
    assert_eq!(
        stats.keys.len(),
        1,
        "the key of one pool does not go to the other's upstream"
    );
    let line = &gateway.logged(1)[0];
    assert_eq!((line.pool.as_str(), line.key_id.as_str()), ("other", "o"));
}

#[test]
fn error_page_may_lead_to_the_same_pool_with_its_only_slot() {
    let gateway = Plan::new()
        .http(&nobody())
        .proxied("proxy_pass http://nobody; error_page 502 = @again;")
        .server("location @again { openai main; proxy_pass http://upstream; }")
        .start();
    gateway.chat().send().expect_status(200);
    assert_eq!(gateway.mock().stats().totals.requests, 1);
}

#[test]
fn error_page_may_lead_from_the_pool_to_a_location_without_one() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .http(&nobody())
        .proxied("proxy_pass http://nobody; error_page 502 = @local;")
        .server("location @local { openai off; proxy_pass http://upstream; }")
        .upstream(upstream.address())
        .start();
    let client = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    assert!(
        !exchange.head.contains(e2e::KEY),
        "the key is not for others"
    );
    gateway.wait_held(0, 0);
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
}

/// nginx marks the request as done before, and its client may stay for the next one.
#[test]
fn post_action_may_wait_for_a_slot() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .server(
            "location = /reported { post_action /after; return 200 reported; }
             location = /after { internal; openai main; proxy_pass http://upstream; }",
        )
        .upstream(upstream.address())
        .start();
    let holder = reload::stream(&gateway, &upstream);
    let mut client = gateway.connect();
    client.send("GET /reported HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.read_until("reported");
    gateway.wait_held(1, 1);
    assert!(!upstream.is_called(), "the slot is held");
    reload::end(holder);
    let mut exchange = upstream.accept();
    assert!(exchange.head.contains(e2e::KEY), "{}", exchange.head);
    exchange.answer();
    gateway.wait_held(0, 0);
    drop(client);
}

/// What the header filter makes of the second error must not hide what is known of the request.
#[test]
fn an_error_page_that_ends_in_an_error_keeps_what_the_log_reports_of_the_request() {
    for (fallback, status, code) in [
        ("openai main; return 503;", 503, None),
        (
            "openai main; return 502;",
            502,
            Some("upstream_unavailable"),
        ),
        ("openai main; deny all;", 403, None),
    ] {
        let gateway = Plan::new()
            .http(&nobody())
            .proxied("proxy_pass http://nobody; error_page 502 = @fallback;")
            .server(&format!("location @fallback {{ {fallback} }}"))
            .start();
        let refusal = gateway.chat().send().refusal();
        assert_eq!(refusal.status, status);
        if let Some(code) = code {
            assert_eq!(refusal.code.as_deref(), Some(code));
        }
        let line = &gateway.logged(1)[0];
        assert_eq!(
            (line.pool.as_str(), line.key_id.as_str()),
            ("main", "main"),
            "{fallback}: {line:?}"
        );
        assert_eq!(line.lease_status, "immediate", "{fallback}");
        assert_eq!(
            (line.model.as_str(), line.stream.as_str()),
            ("gpt-4o", "true")
        );
        for reported in [&line.slot, &line.fence, &line.lease_id, &line.hold_ms] {
            assert!(!reported.is_empty(), "{fallback}: {line:?}");
        }
        gateway.wait_held(0, 0);
    }
}

#[test]
fn proxy_intercept_errors_has_its_way_with_the_upstreams_errors() {
    let gateway = Plan::new()
        .location("proxy_intercept_errors on; error_page 503 = @sorry;")
        .server("location @sorry { return 200 sorry; }")
        .start();
    let answer = gateway
        .chat()
        .header("x-mock-status", "503")
        .send()
        .expect_status(200);
    assert_eq!(answer.text(), "sorry");
}

#[test]
fn an_upstream_may_redirect_inside_to_a_file() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .server("location /files/ { internal; root {dir}; } ")
        .server("location = /files/note { internal; return 200 noted; }")
        .upstream(upstream.address())
        .start();
    let client = gateway.get("/v1/files/1/content").spawn();
    upstream.accept().send(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Accel-Redirect: /files/note\r\n\
         Content-Length: 0\r\n\r\n",
    );
    assert_eq!(
        client.join().expect("an answer").expect_status(200).text(),
        "noted"
    );
    gateway.wait_held(0, 0);
}

#[test]
fn an_upstream_may_redirect_inside_to_the_same_pool_with_its_only_slot() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let client = gateway.get("/v1/files/1").spawn();
    upstream.accept().send(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Accel-Redirect: /v1/files/2\r\n\
         Content-Length: 0\r\n\r\n",
    );
    let mut again = upstream.accept();
    assert!(again.head.starts_with("GET /v1/files/2 "), "{}", again.head);
    gateway.wait_held(1, 0);
    again.answer();
    client.join().expect("an answer").expect_status(200);
}

#[test]
fn an_upstream_that_redirects_inside_for_ever_is_stopped() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let client = gateway.get("/v1/files/1").spawn();
    while !client.is_finished() {
        if let Some(mut exchange) = upstream.try_accept() {
            exchange.try_send(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Accel-Redirect: /v1/files/1\r\n\
                 Content-Length: 0\r\n\r\n",
            );
        }
    }
    let refusal = client.join().expect("an answer").refusal();
    assert_eq!(
        refusal,
        Refusal::new(500, "server_error", Some("internal_error"))
    );
    gateway.wait_held(0, 0);
}

#[test]
fn a_rewrite_to_another_location_takes_one_lease() {
    let gateway = Plan::new()
        .server("location /openai/ { rewrite ^/openai(/.*)$ /v1$1 last; }")
        .start();
    let answer = gateway.get("/openai/models").send().expect_status(200);
    assert_eq!(answer.json()["object"], "list");
    assert_eq!(gateway.mock().stats().totals.requests, 1);
}

//! Locations inside a proxied one: those without a handler of their own serve files, as in nginx
//! without the module.

use e2e::{Call, Plan, RawUpstream, closed_port};

/// `/v1/` with locations for files inside it, in a plan whose only slot is to be of no interest.
fn plan(inner: &str) -> Plan {
    Plan::new()
        .location(inner)
        .file("a.txt", "a file")
        .file("index.html", "an index")
}

/// What a path serves while the pool's only slot is held.
#[track_caller]
fn serves(inner: &str, path: &str, status: u16, says: &str) {
    let upstream = RawUpstream::bind();
    let gateway = plan(inner).upstream(upstream.address()).start();
    let holder = gateway.get("/v1/models").spawn();
    let mut exchange = upstream.accept();
    gateway.wait_held(1, 0);
    let answer = gateway.get(path).send().expect_status(status);
    assert!(answer.text().contains(says), "{}", answer.text());
    exchange.answer();
    holder.join().expect("an answer").expect_status(200);
    let lines = gateway.logged(2);
    let line = lines.iter().find(|line| line.uri == path).expect("a line");
    assert_eq!(line.lease_status, "none", "{line:?}");
}

#[test]
fn a_file() {
    serves(
        "location /v1/docs/ { alias {dir}/; }",
        "/v1/docs/a.txt",
        200,
        "a file",
    );
    serves(
        "location /v1/docs/ { alias {dir}/; if ($uri) { set $what 1; } }",
        "/v1/docs/a.txt",
        200,
        "a file",
    );
    serves(
        "location /v1/docs/ { alias {dir}/; }",
        "/v1/docs/none.txt",
        404,
        "error",
    );
}

#[test]
fn an_index() {
    serves(
        "location /v1/docs/ { alias {dir}/; }",
        "/v1/docs/",
        200,
        "an index",
    );
}

#[test]
fn a_list_of_files() {
    serves(
        "location /v1/docs/ { alias {dir}/; index none; autoindex on; }",
        "/v1/docs/",
        200,
        "a.txt",
    );
}

#[test]
fn the_first_file_that_is_there() {
    serves(
        "location /v1/docs/ { root {dir}; try_files /none.txt /a.txt =404; }",
        "/v1/docs/x",
        200,
        "a file",
    );
}

#[test]
fn a_file_for_an_error() {
    let gateway = plan("location = /v1/a.txt { alias {dir}/a.txt; }")
        .location("error_page 502 /v1/a.txt;")
        .upstream(format!("127.0.0.1:{}", closed_port()))
        .start();
    let answer = gateway.get("/v1/models").send().expect_status(502);
    assert_eq!(answer.text(), "a file");
    gateway.wait_held(0, 0);
}

#[test]
fn a_method_that_is_limited_is_sent_with_a_key() {
    let gateway = plan("limit_except GET { allow all; }").start();
    gateway.chat().send().expect_status(200);
    gateway.get("/v1/models").send().expect_status(200);
    for line in gateway.logged(2) {
        assert_eq!(line.key_id, "main");
    }
}

/// Where requests need a token, those that the module answers itself need one as well.
#[test]
fn metrics_below_a_pool_are_not_open() {
    let gateway = Plan::new()
        .environment("TOKEN", "token-of-a-client")
        .clients("client app env:TOKEN;")
        .server("openai main; location = /metrics { openai_metrics; if ($arg_x) { set $y 1; } }")
        .start();
    for path in ["/metrics", "/metrics?x=1"] {
        let refused = gateway.get(path).send().refusal();
        assert_eq!(refused.status, 401);
        let metrics = gateway.get(path).token("token-of-a-client").send();
        metrics.expect_status(200);
    }
}

/// Blocks inside the locations of the lock service and of the metrics are answered as these.
#[test]
fn blocks_inside_locations_that_the_module_answers() {
    let gateway = Plan::new()
        .environment("TOKEN", "token-of-a-client")
        .clients("client app env:TOKEN;")
        .server(
            "openai main;
             location = /health { openai_api main; if ($arg_x) { set $y 1; } }
             location /v1/lock/ {
                openai_api main;
                if ($arg_x) { set $y 1; }
                limit_except GET { allow all; }
             }
             location = /metrics { openai_auth off; openai_metrics; if ($arg_x) { set $y 1; } }
             location = /proxied { openai_api main; if ($arg_x) { proxy_pass http://upstream; } }",
        )
        .start();
    for query in ["", "?x=1"] {
        let get = |path: &str| gateway.get(&format!("{path}{query}"));
        let health = get("/health").send().expect_status(200).json();
        assert_eq!(health["status"], "healthy");
        let metrics = get("/metrics").send().expect_status(200);
        assert!(metrics.text().contains("openai_"), "{}", metrics.text());
        let body = r#"{"service_name":"labeling"}"#;
        let url = gateway.url(&format!("/v1/lock/acquire{query}"));
        let lock = Call::json(&url, body).token("token-of-a-client").send();
        let lock = lock.expect_status(200).json();
        gateway.wait_held(1, 0);
        let body = format!(
            r#"{{"service_name":"labeling","lock_id":{}}}"#,
            lock["lock_info"]["lock_id"]
        );
        let url = gateway.url(&format!("/v1/lock/release{query}"));
        let released = Call::json(&url, body).token("token-of-a-client").send();
        released.expect_status(200);
        gateway.wait_held(0, 0);
    }
    let refused = gateway.get("/proxied?x=1").send().refusal();
    assert_eq!(refused.status, 401);
    let proxied = gateway.get("/proxied?x=1").token("token-of-a-client");
    proxied.send();
    assert_eq!(gateway.logged(10).last().expect("a line").key_id, "main");
}

/// nginx goes on with the handler of the first block, and with the configuration of the last.
#[test]
fn two_if_blocks_of_which_the_first_proxies() {
    let gateway = Plan::new()
        .server(
            "set $yes 1;
             location /two/ {
                openai main;
                if ($yes) { proxy_pass http://upstream; }
                if ($yes) { set $what 1; }
             }
             location /one/ {
                openai main;
                if ($yes) { proxy_pass http://upstream; }
             }",
        )
        .start();
    let kept = gateway.get("/two/").keep_alive();
    for call in [&kept, &kept] {
        let refusal = call.send().refusal();
        assert_eq!(
            (refusal.status, refusal.kind.as_str()),
            (500, "server_error")
        );
    }
    gateway.get("/one/").send();
    let lines = gateway.logged(3);
    assert_eq!(
        lines
            .iter()
            .map(|line| line.key_id.as_str())
            .collect::<Vec<_>>(),
        ["", "", "main"]
    );
}

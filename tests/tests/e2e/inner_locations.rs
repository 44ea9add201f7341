//! Locations inside a proxied one: those without a handler of their own serve files, as in nginx
//! without the module.

use e2e::{Plan, RawUpstream, closed_port};

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

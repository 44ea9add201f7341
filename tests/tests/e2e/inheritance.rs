//! What a server and a location take over from the level above.

use e2e::{Plan, RawUpstream};

const TOKEN: &str = "token-of-a-service";

fn location(path: &str, text: &str) -> String {
    format!("location {path} {{ {text} proxy_pass http://upstream; }}")
}

/// The pool that each path gets its key from, in order.
fn pools_of(gateway: &e2e::Gateway, paths: &[&str]) -> Vec<String> {
    for path in paths {
        gateway.get(path).send().expect_status(200);
    }
    gateway
        .logged(paths.len())
        .into_iter()
        .map(|line| line.pool)
        .collect()
}

fn two_pools() -> Plan {
    Plan::new()
        .pool("main", "key sk-e2e-main;")
        .pool("other", "key sk-e2e-other;")
}

#[test]
fn a_location_takes_the_pool_of_the_level_above_unless_it_says_otherwise() {
    let gateway = two_pools()
        .http("openai other;")
        .server(&location("/v1/http", ""))
        .server(&location("/v1/own", "openai main;"))
        .server(&location("/v1/off", "openai off;"))
        .start();
    let paths = ["/v1/http", "/v1/own", "/v1/off", "/v1/other"];
    assert_eq!(pools_of(&gateway, &paths), ["other", "main", "", "main"]);
}

#[test]
fn a_server_stands_between_http_and_location() {
    let gateway = two_pools()
        .http("openai off;")
        .server("openai other;")
        .server(&location("/v1/server", ""))
        .server(&location("/v1/own", "openai main;"))
        .start();
    assert_eq!(
        pools_of(&gateway, &["/v1/server", "/v1/own"]),
        ["other", "main"]
    );
}

#[test]
fn a_nested_location_may_be_switched_off_and_on() {
    let gateway = two_pools()
        .server(&format!(
            "location /v1/outer/ {{
                openai other; proxy_pass http://upstream;
                {}
                location /v1/outer/off/ {{
                    openai off; proxy_pass http://upstream;
                    {}
                }}
             }}",
            location("/v1/outer/inner/", ""),
            location("/v1/outer/off/on/", "openai main;"),
        ))
        .start();
    let paths = [
        "/v1/outer/x",
        "/v1/outer/inner/x",
        "/v1/outer/off/x",
        "/v1/outer/off/on/x",
    ];
    assert_eq!(pools_of(&gateway, &paths), ["other", "other", "", "main"]);
}

#[test]
fn where_the_module_is_off_a_request_passes_as_it_is() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .environment("SERVICE_TOKEN", TOKEN)
        .clients("client app env:SERVICE_TOKEN;")
        .server(&location("/plain", "openai off;"))
        .upstream(upstream.address())
        .start();
    let client = gateway.get("/plain").token("of-another-system").spawn();
    let mut exchange = upstream.accept();
    assert_eq!(
        exchange.header("authorization"),
        Some("Bearer of-another-system")
    );
    assert_eq!(gateway.held("main").held, 0);
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
}

#[test]
fn auth_is_inherited_and_may_be_switched() {
    let gateway = Plan::new()
        .environment("SERVICE_TOKEN", TOKEN)
        .clients("client app env:SERVICE_TOKEN;")
        .server("openai main; openai_auth off;")
        .server(&location("/v1/open", ""))
        .server(&location("/v1/shut", "openai_auth on;"))
        .start();
    gateway.get("/v1/open").send().expect_status(200);
    gateway.get("/v1/shut").send().expect_status(401);
    gateway
        .get("/v1/shut")
        .token(TOKEN)
        .send()
        .expect_status(200);
}

#[test]
fn inspection_is_inherited_and_may_be_switched() {
    let gateway = Plan::new()
        .http("openai_inspect_invalid reject; openai_inspect_oversize reject;")
        .server("openai main; openai_inspect_max_size 50;")
        .server(&location("/v1/strict", ""))
        .server(&location("/v1/wide", "openai_inspect_max_size 1m;"))
        .server(&location("/v1/mild", "openai_inspect_invalid pass;"))
        .server(&location("/v1/tolerant", "openai_inspect_oversize pass;"))
        .server(&location("/v1/blind", "openai_inspect off;"))
        .start();
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(100));
    for (path, invalid, oversize) in [
        ("/v1/strict", 400, 413),
        ("/v1/wide", 400, 200),
        ("/v1/mild", 200, 413),
        ("/v1/tolerant", 400, 200),
        ("/v1/blind", 200, 200),
    ] {
        let post = |body: &str| e2e::Call::json(gateway.url(path), body).send().status;
        assert_eq!(
            (post("{"), post(&long), post("{}")),
            (invalid, oversize, 200),
            "{path}"
        );
    }
}

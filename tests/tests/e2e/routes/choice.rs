//! Which upstream a request goes to.

use e2e::{Call, Plan, Refusal};

use super::bed::{chat, message, plan, second, served};

const ROUTES: &str = "
    model gpt-4o gpt-5   to=cloud@cloud;
    model ~mini          to=local@local;
    model gpt-4o-*       to=cloud@cloud to=local@local;
    model ~*^(llama|qwen) mistral* to=local@local;";

#[test]
fn names_prefixes_and_expressions_lead_to_their_upstreams() {
    let second = second();
    let gateway = plan(&second.addr().to_string(), ROUTES).start();
    for (model, expected) in [
        ("gpt-4o", (1, 0)),
        ("gpt-5", (2, 0)),
        ("gpt-4o-mini", (3, 0)),
        ("gpt-5-mini", (3, 1)),
        ("Llama-3.3-70b", (3, 2)),
        ("mistral", (3, 3)),
        ("mistral-large", (3, 4)),
    ] {
        chat(&gateway, model).send().expect_status(200);
        assert_eq!(served(&gateway, &second), expected, "{model}");
    }
}

#[test]
fn a_model_that_nobody_serves_is_not_found() {
    let second = second();
    let gateway = plan(&second.addr().to_string(), ROUTES).start();
    let not_found = Refusal::new(404, "invalid_request_error", Some("model_not_found"));
    for model in ["gpt-3", "", "gpt-4o ", "`; \"quoted\"\n\u{1} größe"] {
        let answer = chat(&gateway, model).send();
        assert_eq!(answer.refusal(), not_found);
        let expected =
            format!("The model `{model}` does not exist or you do not have access to it.");
        assert_eq!(message(&answer), expected);
    }
    let answer = chat(&gateway, &"m".repeat(100_000)).send();
    assert_eq!(answer.refusal(), not_found);
    assert!(answer.body.len() < 500, "the name is not sent back");
    assert_eq!(served(&gateway, &second), (0, 0));
    let lines = gateway.logged(5);
    assert!(lines.iter().all(|line| line.lease_status == "none"));
}

#[test]
fn without_a_model_the_first_targets_serve_or_otherwise() {
    for (routes, expected) in [
        (ROUTES.to_owned(), (4, 0)),
        (format!("{ROUTES} otherwise to=local@local;"), (0, 4)),
    ] {
        let second = second();
        let gateway = plan(&second.addr().to_string(), &routes).start();
        gateway.get("/v1/models").send().expect_status(200);
        Call::new("POST", gateway.url("/v1/files"))
            .header("content-type", "multipart/form-data; boundary=x")
            .body("no json")
            .send()
            .expect_status(200);
        for body in [r#"{"model":null}"#, r#"{"model":"gpt-5""#] {
            Call::json(gateway.url("/v1/other"), body)
                .send()
                .expect_status(200);
        }
        assert_eq!(served(&gateway, &second), expected);
    }
}

#[test]
fn otherwise_serves_every_other_model() {
    let second = second();
    let routes = format!("{ROUTES} otherwise to=local@local;");
    let gateway = plan(&second.addr().to_string(), &routes).start();
    let long = "m".repeat(1_000);
    for model in ["gpt-3", "", &long] {
        chat(&gateway, model).send().expect_status(200);
    }
    assert_eq!(served(&gateway, &second), (0, 3));
}

#[test]
fn a_list_of_targets_needs_no_routes() {
    let second = second();
    let gateway = plan(&second.addr().to_string(), ROUTES)
        .serves("openai local@local cloud@cloud;")
        .start();
    chat(&gateway, "gpt-4o").send().expect_status(200);
    assert_eq!(served(&gateway, &second), (0, 1));
}

#[test]
fn an_inner_level_routes_otherwise_or_not_at_all() {
    let second = second();
    let location = |path: &str, serves: &str| {
        format!("location {path} {{ {serves} proxy_pass http://$openai_upstream$uri; }}\n")
    };
    let gateway = plan(&second.addr().to_string(), ROUTES)
        .server("openai_route models;")
        .server(&location("/inherits/", ""))
        .server(&location("/listed/", "openai local@local;"))
        .server("location /none/ { openai_route off; proxy_pass http://local; }")
        .serves("openai off;")
        .proxied("proxy_pass http://local;")
        .start();
    let body = r#"{"model":"gpt-4o"}"#;
    let call = |path: &str| Call::json(gateway.url(path), body).send();
    let status = |path| call(path).status;
    assert_ne!(status("/inherits/x"), 500);
    assert_ne!(status("/listed/x"), 500);
    let lines = gateway.logged(2);
    let seen = |at: usize| (lines[at].pool.as_str(), lines[at].upstream.as_str());
    assert_eq!(seen(0), ("cloud", "cloud"));
    assert_eq!(seen(1), ("local", "local"));
    call("/none/x");
    call("/v1/x");
    for line in &gateway.logged(4)[2..] {
        assert_eq!(line.lease_status, "none");
        assert_eq!((line.pool.as_str(), line.upstream.as_str()), ("", ""));
    }
}

#[test]
fn a_redirect_is_routed_anew() {
    let second = second();
    let gateway = plan(&second.addr().to_string(), ROUTES)
        .http("openai_routes others { otherwise to=local@local; }")
        .location("error_page 404 = @others;")
        .server("location @others { openai_route others; proxy_pass http://$openai_upstream; }")
        .start();
    chat(&gateway, "unknown").send().expect_status(200);
    let line = &gateway.logged(1)[0];
    assert_eq!(
        (line.pool.as_str(), line.upstream.as_str()),
        ("local", "local")
    );
    assert_eq!(line.route, "otherwise");
    assert_eq!(served(&gateway, &second), (0, 1));
}

#[test]
fn a_reload_changes_routes() {
    let second = second();
    let address = second.addr().to_string();
    let mut gateway = plan(&address, "model gpt-* to=cloud@cloud;").start();
    chat(&gateway, "gpt-4o").send().expect_status(200);
    chat(&gateway, "llama").send().expect_status(404);
    let changed = plan(
        &address,
        "model llama to=cloud@cloud; model gpt-* to=local@local;",
    )
    .expect("no pool \"nobody\"");
    gateway.reload(|_: Plan| changed.clone());
    chat(&gateway, "gpt-4o").send().expect_status(200);
    chat(&gateway, "llama").send().expect_status(200);
    assert_eq!(served(&gateway, &second), (2, 1));
    gateway.reload_refused(|_| plan(&address, "model x to=nobody;"));
    gateway.error_log().wait_for("no pool \"nobody\"");
    chat(&gateway, "llama").send().expect_status(200);
    assert_eq!(served(&gateway, &second), (3, 1));
}

//! What variables report about routes, and what nginx can make of them.

use e2e::Gateway;

use super::bed::{chat, plan, second, served};

const ROUTES: &str = "
    model gpt-* ~^o[0-9] to=cloud@cloud to=local@local;
    model llama          to=local@local;
    model plain          to=cloud;
    alias fast gpt-4o-mini;";

/// The last line of the log, after so many requests.
fn reported(gateway: &Gateway, requests: usize) -> [String; 5] {
    let line = gateway.logged(requests).pop().expect("a line");
    [
        line.model,
        line.upstream_model,
        line.route,
        line.upstream,
        line.pool,
    ]
}

#[test]
fn the_log_reports_where_a_request_went() {
    let second = second();
    let gateway = plan(&second.addr().to_string(), ROUTES).start();
    for (requests, (model, expected)) in (1..).zip([
        ("gpt-4o", ["gpt-4o", "gpt-4o", "gpt-*", "cloud", "cloud"]),
        ("o3", ["o3", "o3", "~^o[0-9]", "cloud", "cloud"]),
        ("llama", ["llama", "llama", "llama", "local", "local"]),
        ("fast", ["fast", "gpt-4o-mini", "gpt-*", "cloud", "cloud"]),
        ("nobodys", ["nobodys", "nobodys", "", "", ""]),
    ]) {
        chat(&gateway, model).send();
        assert_eq!(reported(&gateway, requests), expected);
    }
}

#[test]
fn a_map_of_the_upstream_chooses_scheme_and_host() {
    let second = second();
    let address = second.addr().to_string();
    let gateway = plan(&address, ROUTES)
        .http("map $openai_upstream $base { volatile; default http://cloud; local http://local; }")
        .http(
            "map $openai_upstream $host_of { volatile; default api.openai.com; local localhost; }",
        )
        .proxied("proxy_set_header Host $host_of; proxy_pass $base;")
        // Asked for before there is an answer, it must not stick.
        .location("if ($openai_upstream = nothing) { return 418; }\nset $early $base;\n")
        .start();
    for model in ["gpt-4o", "llama", "plain"] {
        chat(&gateway, model).send().expect_status(200);
    }
    assert_eq!(served(&gateway, &second), (2, 1));
}

#[test]
fn a_target_without_an_upstream_leaves_the_variable_empty() {
    let second = second();
    let gateway = plan(&second.addr().to_string(), ROUTES)
        .expect("invalid URL prefix")
        .expect("no host in upstream")
        .start();
    chat(&gateway, "plain").send().expect_status(500);
    assert_eq!(served(&gateway, &second), (0, 0));
    assert_eq!(
        reported(&gateway, 1),
        ["plain", "plain", "plain", "", "cloud"]
    );
}

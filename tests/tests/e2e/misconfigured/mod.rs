//! Every mistake gives one line that names the directive and the value, and never a secret.

mod keys;
mod pools;
mod secrets;
mod typical;
mod upstreams;
mod zones;

use e2e::{ConfigTest, Plan};

/// A plan with every source that the cases below name.
fn plan() -> Plan {
    Plan::new()
        .environment("KEY", "sk-e2e-secret")
        .environment("EMPTY", "")
        .environment("SPACED", "sk-e2e secret")
        .environment("TOKEN", "token-of-somebody")
        .environment("OTHER_TOKEN", "token-of-another")
        .file("keys", "sk-e2e-secret-1\nsk-e2e-secret-2\n")
        .file("no-keys", "# nothing\n\n")
        .file("bad-keys", "sk-e2e-secret-1\nsk-e2e-secret-2 slots=0\n")
        .file(
            "spaced-keys",
            "sk-e2e-secret-1\nsk-e2e-secret-2 sk-e2e-secret-3\n",
        )
}

#[track_caller]
pub(crate) fn assert_refused(plan: &Plan, says: &[&str]) {
    assert_reported(&plan.check(), says);
}

#[track_caller]
fn assert_reported(test: &ConfigTest, says: &[&str]) {
    assert!(!test.ok, "accepted, instead of saying {says:?}");
    let lines = test.emergencies();
    assert_eq!(
        lines.len(),
        1,
        "one line that says {says:?}, not: {lines:#?}"
    );
    for word in says {
        assert!(lines[0].contains(word), "{word:?} is missing: {}", lines[0]);
    }
    for secret in ["sk-e2e", "token-of"] {
        assert!(
            !test.output.contains(secret),
            "a secret is reported: {}",
            test.output
        );
    }
}

#[track_caller]
fn assert_pool_refused(body: &str, says: &[&str]) {
    let says = [&["openai_pool", "main"], says].concat();
    assert_refused(&plan().pool("main", body), &says);
}

#[track_caller]
fn assert_clients_refused(body: &str, says: &[&str]) {
    assert_refused(&plan().clients(body), &[&["openai_clients"], says].concat());
}

#[track_caller]
fn assert_location_refused(text: &str, says: &[&str]) {
    assert_refused(&plan().location(text), says);
}

#[test]
fn a_sound_configuration_is_accepted() {
    let test = plan().clients("client app env:TOKEN;").check();
    assert!(test.ok, "{}", test.output);
    assert!(test.emergencies().is_empty());
}

#[test]
fn locations_that_two_directives_answer() {
    for directives in [
        ["openai_api main;", "proxy_pass http://upstream;"],
        ["openai_api main;", "openai_metrics;"],
        ["openai_metrics;", "stub_status;"],
        ["openai_metrics;", "openai_metrics;"],
    ] {
        let [first, second] = directives;
        for location in [format!("{first} {second}"), format!("{second} {first}")] {
            let plan = plan().clients("client app env:TOKEN;");
            let plan = plan.server(&format!("location /both {{ {location} }}"));
            let says = if first == second {
                "duplicate"
            } else {
                "another directive"
            };
            assert_refused(&plan, &[says]);
        }
    }
    let test = plan()
        .clients("client app env:TOKEN;")
        .server(
            "location /a { openai_api main; if ($arg_x) { proxy_pass http://upstream; } }
             location /b { openai_metrics; location /b/c { openai_api main; } }",
        )
        .check();
    assert!(test.ok, "{}", test.output);
}

#[test]
fn clients_that_cannot_be() {
    assert_clients_refused("", &["client"]);
    assert_clients_refused("client;", &["client"]);
    assert_clients_refused("client app;", &["client"]);
    assert_clients_refused("user app env:TOKEN;", &["\"user\""]);
    assert_clients_refused("client a/b env:TOKEN;", &["client", "a/b"]);
    assert_clients_refused("client app token-of-the-app;", &["client", "app"]);
    assert_clients_refused("client app env:ABSENT;", &["client", "env:ABSENT"]);
    assert_clients_refused("client app env:EMPTY;", &["client", "env:EMPTY"]);
    assert_clients_refused(
        "client app file:/nonexistent/token;",
        &["client", "/nonexistent/token"],
    );
    assert_clients_refused("client app file:{dir}/no-keys;", &["client", "no-keys"]);
    assert_clients_refused(
        "client app env:TOKEN role=root;",
        &["client", "role", "\"root\""],
    );
    assert_clients_refused(
        "client app env:TOKEN priority=high;",
        &["client", "\"high\""],
    );
    assert_clients_refused(
        "client app env:TOKEN priority=99999;",
        &["client", "\"99999\""],
    );
    assert_clients_refused(
        "client app env:TOKEN colour=red;",
        &["client", "\"colour\""],
    );
    assert_clients_refused(
        "client app env:TOKEN role=admin role=admin;",
        &["client", "role"],
    );
    let name = "client app env:TOKEN; client app env:OTHER_TOKEN;";
    assert_clients_refused(name, &["client", "\"app\""]);
    let token = "client one env:TOKEN; client two env:TOKEN;";
    assert_clients_refused(token, &["client", "\"one\"", "\"two\""]);
    let twice = plan()
        .clients("client app env:TOKEN;")
        .http("openai_clients { client b env:KEY; }");
    assert_refused(&twice, &["openai_clients", "duplicate"]);
    assert_refused(
        &plan().http("openai_clients app { client b env:KEY; }"),
        &["openai_clients"],
    );
}

#[test]
fn locations_that_cannot_be() {
    for (text, says) in [
        ("openai other;", ["openai", "duplicate"]),
        ("openai_auth maybe;", ["openai_auth", "\"maybe\""]),
        (
            "openai_auth off; openai_auth off;",
            ["openai_auth", "duplicate"],
        ),
        ("openai_auth on;", ["openai_auth", "openai_clients"]),
        ("openai_inspect yes;", ["openai_inspect", "\"yes\""]),
        (
            "openai_inspect on; openai_inspect on;",
            ["openai_inspect", "duplicate"],
        ),
        (
            "openai_inspect_max_size big;",
            ["openai_inspect_max_size", "\"big\""],
        ),
        (
            "openai_inspect_max_size -1;",
            ["openai_inspect_max_size", "\"-1\""],
        ),
        (
            "openai_inspect_max_size 1m; openai_inspect_max_size 1m;",
            ["max_size", "duplicate"],
        ),
        (
            "openai_inspect_oversize drop;",
            ["openai_inspect_oversize", "\"drop\""],
        ),
        (
            "openai_inspect_invalid on;",
            ["openai_inspect_invalid", "\"on\""],
        ),
        (
            "openai_inspect_invalid pass pass;",
            ["openai_inspect_invalid", ""],
        ),
        ("openai_inspect_mode x;", ["openai_inspect_mode", "unknown"]),
    ] {
        assert_location_refused(text, &says);
    }
    let unknown = plan().server("location /x/ { openai nowhere; }");
    assert_refused(&unknown, &["openai", "\"nowhere\""]);
    assert_refused(
        &plan().server("openai nowhere;"),
        &["openai", "\"nowhere\""],
    );
    assert_refused(&plan().http("openai nowhere;"), &["openai", "\"nowhere\""]);
    assert_refused(&plan().server("location /x/ { openai; }"), &["openai"]);
    assert_refused(
        &plan().server("location /x/ { openai main main; }"),
        &["openai"],
    );
}

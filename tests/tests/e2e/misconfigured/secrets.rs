//! Secrets that stand in the wrong place.

use e2e::Plan;

use super::plan;

/// A key, what a token may look like, and a password that looks like a word.
const KEY: &str = "sk-e2e-Zm9vYmFy/c2VjcmV0+";
const RANDOM: &str = "q7Rf2LmX9vTz4KdB8sWn1YpC";
const PASSWORD: &str = "hunter2horse";

/// Where a directive of a case stands.
#[derive(Clone, Copy)]
enum In {
    Http,
    Location,
    Pool,
    Clients,
    Group,
    Upstream,
    Routes,
}

impl In {
    fn plan(self, text: &str) -> Plan {
        let block = |name: &str| plan().http(&format!("{name} {{ {text} }}"));
        match self {
            Self::Http => plan().http(text),
            Self::Location => plan().server(&format!("location /x/ {{ {text} }}")),
            Self::Pool => plan().pool("main", text),
            Self::Clients => plan().clients(text),
            Self::Group => block("openai_redlock g"),
            Self::Upstream => block("openai_upstream u"),
            Self::Routes => block("openai_routes r"),
        }
    }
}

/// The directives of all kinds that echo what they are given; `%` is the secret.
const EVERY_VALUE: &[(In, &str)] = &[
    (In::Location, "openai %;"),
    (In::Location, "openai main %;"),
    (In::Location, "openai main; openai %;"),
    (In::Location, "openai_route %;"),
    (In::Location, "openai_auth %;"),
    (In::Location, "openai_api %;"),
    (In::Location, "openai_api % %;"),
    (In::Location, "openai_inspect_max_size %;"),
    (In::Location, "openai_inspect_invalid %;"),
    (In::Location, "openai_next_key %;"),
    (In::Location, "openai_next_key_tries %;"),
    (In::Location, "openai_next_key_timeout %;"),
    (In::Location, "openai_lock_ttl % 5s;"),
    (In::Location, "openai_lock_key %;"),
    (In::Location, "openai_client_abort %;"),
    (In::Location, "openai_client_abort drain time=%;"),
    (In::Location, "openai_trace %;"),
    (In::Location, "openai_usage %;"),
    (In::Http, "openai_key_watch %;"),
    (In::Http, "openai_prices %;"),
    (In::Http, "openai_stats %;"),
    (In::Http, "openai_stats a:%;"),
    (In::Http, "openai_stats_file totals %;"),
    (In::Http, "openai_zone %;"),
    (In::Http, "openai_zone %:1;"),
    (In::Pool, "key file:%;"),
    (In::Pool, "key file:/nowhere/%;"),
    (In::Pool, "key env:%;"),
    (In::Pool, "key env:KEY %;"),
    (In::Pool, "key env:KEY %=1;"),
    (In::Pool, "key env:KEY slots=%;"),
    (In::Pool, "key env:KEY id=a/%;"),
    (In::Pool, "key env:KEY; balance %;"),
    (In::Pool, "key env:KEY; wait %;"),
    (In::Pool, "key env:KEY; store %;"),
    (In::Pool, "key env:KEY; limit rpm=%;"),
    (In::Pool, "key env:KEY; limit %;"),
    (In::Pool, "key env:KEY; cool_down %;"),
    (In::Pool, "key env:KEY; % on;"),
    (In::Clients, "client % %;"),
    (In::Clients, "client app %;"),
    (In::Clients, "client app env:%;"),
    (In::Clients, "client app file:%;"),
    (In::Clients, "client app env:TOKEN role=%;"),
    (In::Clients, "client app env:TOKEN priority=%;"),
    (In::Clients, "client app env:TOKEN %;"),
    (In::Clients, "client app env:TOKEN; quota % tokens=1/day;"),
    (In::Clients, "client app env:TOKEN; quota app tokens=%;"),
    (In::Clients, "client app env:TOKEN; quota app %;"),
    (In::Clients, "% app env:TOKEN;"),
    (In::Group, "node %;"),
    (In::Group, "node env:%;"),
    (In::Group, "node redis://127.0.0.1:1; password %;"),
    (In::Group, "node redis://127.0.0.1:1; password env:%;"),
    (In::Group, "node redis://127.0.0.1:1; password file:%;"),
    (In::Group, "node redis://127.0.0.1:1; drift %;"),
    (In::Group, "node redis://127.0.0.1:1; node_timeout %;"),
    (
        In::Group,
        "node redis://127.0.0.1:1; tls_trusted_certificate %;",
    ),
    (
        In::Group,
        "node rediss://127.0.0.1:1; tls_certificate_key %;",
    ),
    (In::Upstream, "errors %;"),
    (In::Upstream, "probe %;"),
    (In::Upstream, "probe http://127.0.0.1:1/ interval=%;"),
    (In::Upstream, "probe http://127.0.0.1:1/ %;"),
    (In::Upstream, "probe ftp://127.0.0.1:1/?key=%;"),
    (In::Upstream, "% 1;"),
    (In::Routes, "model %;"),
    (In::Routes, "model gpt to=%;"),
    (In::Routes, "model *% to=main;"),
    (In::Routes, "model \"~(%\" to=main;"),
    (In::Routes, "model gpt to=main; alias % %;"),
    (In::Routes, "% gpt to=main;"),
];

/// Values of which only some places know that they are passwords.
const PASSWORDS: &[(In, &str)] = &[
    (In::Pool, "key env:%;"),
    (In::Clients, "client app env:%;"),
    (In::Clients, "client app %;"),
    (In::Group, "node redis://127.0.0.1:1; password %;"),
    (In::Group, "node redis://127.0.0.1:1; password env:%;"),
    (In::Group, "node env:%;"),
    (In::Group, "node redis://:%@127.0.0.1:x;"),
    (In::Group, "node http://user:%@127.0.0.1:1;"),
    (In::Upstream, "probe https://user:%@127.0.0.1:1/;"),
    (In::Upstream, "probe https://%@127.0.0.1:1/;"),
    (In::Upstream, "probe http://u:%/2@127.0.0.1:1/;"),
    (In::Upstream, "probe ftp://host/?password=%;"),
    (In::Upstream, "probe http://127.0.0.1:1/ password=%;"),
];

/// One line says what is wrong, and does not report the secret.
#[track_caller]
fn assert_not_reported(place: In, text: &str, secret: &str) {
    let text = text.replace('%', secret);
    let test = place.plan(&text).check();
    assert!(!test.ok, "{text} is accepted");
    assert_eq!(test.emergencies().len(), 1, "{text}: {}", test.output);
    // Nor most of it.
    let most = &secret[..secret.len() - 4];
    assert!(!test.output.contains(most), "{text}: {}", test.output);
}

#[test]
fn a_key_or_token_in_the_wrong_place_is_not_reported() {
    for &(place, text) in EVERY_VALUE {
        for secret in [KEY, RANDOM] {
            assert_not_reported(place, text, secret);
        }
    }
}

#[test]
fn a_password_in_the_wrong_place_is_not_reported() {
    for &(place, text) in PASSWORDS {
        assert_not_reported(place, text, PASSWORD);
    }
}

#[test]
fn no_name_can_be_a_key() {
    for (place, text) in [
        (In::Pool, "key env:KEY id=sk-e2e;"),
        (In::Clients, "client sk-e2e env:TOKEN;"),
        (In::Http, "openai_pool sk-e2e { key env:KEY; }"),
        (
            In::Http,
            "openai_redlock sk-e2e { node redis://127.0.0.1:1; }",
        ),
        (In::Http, "openai_upstream sk-e2e { errors 50%; }"),
    ] {
        let test = place.plan(text).check();
        assert!(!test.ok, "{text} is accepted");
        assert!(!test.output.contains("sk-e2e"), "{text}: {}", test.output);
    }
}

#[test]
fn a_value_of_several_lines_stays_on_one() {
    for (place, text) in [
        (In::Location, "openai \"a\nb [emerg] c\";"),
        (In::Location, "openai_auth \"a\r\nb\";"),
        (In::Pool, "key \"file:/no\nwhere\";"),
        (In::Clients, "\"x\ny\" a;"),
        (In::Routes, "model \"~(\n\" to=main;"),
        (In::Http, "openai_zone \"a\nb\";"),
    ] {
        let test = place.plan(text).check();
        assert!(!test.ok, "{text} is accepted");
        let lines: Vec<_> = test
            .output
            .lines()
            .filter(|line| !line.is_empty())
            .collect();
        let other = lines
            .iter()
            .find(|line| !line.starts_with("nginx: ") && !line.contains("] "));
        assert_eq!(other, None, "{text}: {}", test.output);
        assert_eq!(test.emergencies().len(), 1, "{text}: {}", test.output);
    }
}

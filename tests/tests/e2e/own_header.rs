//! Configurations that send `$http_authorization` themselves, and log it: upstream it is the leased
//! key, and everywhere else what the client has sent.

use std::fs;

use e2e::{Gateway, KEY, Plan, RawUpstream, closed_port, wait_for};

const TOKEN: &str = "token-of-the-client";
/// What many configurations have.
const SENT: &str = "proxy_set_header Authorization $http_authorization;";

/// A plan whose log `seen.log` shows the header, and `$copy`, which the server may set.
fn plan() -> Plan {
    Plan::new()
        .http("log_format seen '<$http_authorization> <$copy> <$http_x_service_token>';")
        .server("set $copy '';")
        .location("access_log {dir}/seen.log seen;")
}

/// The log, once it has so many lines; none of them has the key.
#[track_caller]
fn seen(gateway: &Gateway, requests: usize) -> Vec<String> {
    let lines = wait_for("the requests are logged", || {
        let text = fs::read_to_string(gateway.dir().join("seen.log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() >= requests).then_some(lines)
    });
    let leaked = lines.iter().any(|line| line.contains(KEY));
    assert!(!leaked, "the access log shows the leased key");
    lines
}

/// Sends a request with the client's token and one without any; upstream they are alike.
#[track_caller]
fn sends_the_key(plan: Plan) -> (Gateway, Vec<String>) {
    let upstream = RawUpstream::bind();
    let gateway = plan.upstream(upstream.address()).start();
    for call in [gateway.chat().token(TOKEN), gateway.chat()] {
        let client = call.spawn();
        let mut exchange = upstream.accept();
        let bearer = format!("Bearer {KEY}");
        assert_eq!(exchange.header("authorization"), Some(bearer.as_str()));
        assert_eq!(exchange.head.matches(KEY).count(), 1, "once");
        assert!(!exchange.head.contains(TOKEN), "the client's own token");
        exchange.answer();
        client.join().expect("an answer").expect_status(200);
    }
    let lines = seen(&gateway, 2);
    (gateway, lines)
}

fn of_the_client() -> String {
    format!("<Bearer {TOKEN}>")
}

#[test]
fn the_log_of_the_header_is_the_clients() {
    let (_gateway, lines) = sends_the_key(plan());
    assert_eq!(lines[0], of_the_client() + " <> <->");
    assert!(lines[1].starts_with("<-> "), "{lines:?}");
}

#[test]
fn the_key_is_sent_and_never_logged_where_the_header_is_set_from_its_variable() {
    let (_gateway, lines) = sends_the_key(plan().location(SENT));
    assert!(lines[0].starts_with(&of_the_client()), "{lines:?}");
    assert!(lines[1].starts_with("<-> "), "{lines:?}");
}

#[test]
fn the_key_is_sent_where_the_variable_was_used_before() {
    let plan = plan()
        .server("set $copy $http_authorization;")
        .location(SENT);
    let (_gateway, lines) = sends_the_key(plan);
    let both = format!("{0} {0} ", of_the_client());
    assert!(lines[0].starts_with(&both), "{lines:?}");
}

#[test]
fn the_key_is_sent_where_clients_are_limited_by_the_variable() {
    let plan = plan()
        .http("limit_req_zone $http_authorization zone=clients:1m rate=1000r/s;")
        .location("limit_req zone=clients burst=100 nodelay;")
        .location(SENT);
    let (_gateway, lines) = sends_the_key(plan);
    assert!(lines[0].starts_with(&of_the_client()), "{lines:?}");
}

#[test]
fn the_key_is_never_logged_when_no_upstream_is_there() {
    let nobody = format!("proxy_pass http://127.0.0.1:{};", closed_port());
    let gateway = plan().location(SENT).proxied(&nobody).start();
    let answer = gateway.chat().token(TOKEN).send();
    assert_eq!(answer.refusal().status, 502);
    let lines = seen(&gateway, 1);
    assert!(lines[0].starts_with(&of_the_client()), "{lines:?}");
    assert!(!gateway.error_log().text().contains(KEY));
}

#[test]
fn the_key_is_not_sent_on_by_an_error_page_outside_the_pool() {
    let upstream = RawUpstream::bind();
    let nobody = format!("proxy_pass http://127.0.0.1:{};", closed_port());
    let gateway = plan()
        .location(SENT)
        .proxied(&nobody)
        .location("error_page 502 = @other;")
        .server(
            "location @other {
                openai off; access_log {dir}/seen.log seen; proxy_pass http://upstream;
                proxy_set_header X-Copy $http_authorization;
             }",
        )
        .upstream(upstream.address())
        .start();
    let client = gateway.chat().token(TOKEN).spawn();
    let mut exchange = upstream.accept();
    assert!(!exchange.head.contains(KEY), "the key is not for others");
    let own = format!("Bearer {TOKEN}");
    assert_eq!(exchange.header("x-copy"), Some(own.as_str()));
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
    seen(&gateway, 1);
}

/// The second upstream of a pool of them is sent a request made anew, or the same again.
#[test]
fn the_key_is_sent_to_the_next_upstream_too() {
    let upstream = RawUpstream::bind();
    let two = format!(
        "upstream two {{ server 127.0.0.1:{}; server {} backup; }}",
        closed_port(),
        upstream.address()
    );
    let gateway = plan()
        .http(&two)
        .location(SENT)
        .location("proxy_next_upstream error non_idempotent;")
        .proxied("proxy_pass http://two;")
        .start();
    let client = gateway.chat().token(TOKEN).spawn();
    let mut exchange = upstream.accept();
    let bearer = format!("Bearer {KEY}");
    assert_eq!(exchange.header("authorization"), Some(bearer.as_str()));
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
    assert!(seen(&gateway, 1)[0].starts_with(&of_the_client()));
}

#[test]
fn the_other_header_of_a_token_is_not_sent_by_its_variable_and_logged_as_it_came() {
    let upstream = RawUpstream::bind();
    let gateway = plan()
        .server("set $copy $http_x_service_token;")
        .location("proxy_set_header X-Service-Token $http_x_service_token;")
        .upstream(upstream.address())
        .start();
    let client = gateway.chat().header("x-service-token", TOKEN).spawn();
    let mut exchange = upstream.accept();
    assert!(!exchange.head.contains(TOKEN), "{}", exchange.head);
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
    let lines = seen(&gateway, 1);
    assert_eq!(lines[0], format!("<-> <{TOKEN}> <{TOKEN}>"));
}

/// A variable made of the header for the upstream would keep what it was made of.
#[test]
fn the_key_is_never_logged_by_a_variable_made_of_the_header() {
    let upstream = RawUpstream::bind();
    let gateway = plan()
        .http("map $http_authorization $whole { default $http_authorization; }")
        .http("map $http_authorization $part { '~^Bearer (?<token>.+)$' $token; }")
        .http("log_format made '<$whole> <$part> <$token>';")
        .location("access_log {dir}/seen.log made;")
        .location("proxy_set_header X-Whole $whole; proxy_set_header X-Part $part;")
        .upstream(upstream.address())
        .start();
    let client = gateway.chat().token(TOKEN).spawn();
    let mut exchange = upstream.accept();
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
    seen(&gateway, 2);
}

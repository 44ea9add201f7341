//! The upstream gets the leased key and nothing of the client's; nobody else gets the key.

use std::thread;
use std::time::Duration;

use e2e::{KEY, Plan, RawUpstream, closed_port, post};
use mock_upstream::{DenyToken, Scenario};

use crate::http2;

const TOKEN: &str = "token-of-the-labeling-service";

fn bearer() -> String {
    format!("Bearer {KEY}")
}

fn with_clients() -> Plan {
    Plan::new()
        .environment("SERVICE_TOKEN", TOKEN)
        .clients("client labeling-service env:SERVICE_TOKEN;")
}

/// A mock that counts requests in which one of these tokens arrives.
fn denying(tokens: &[&str]) -> Scenario {
    let scenario = Scenario::new().delay(Duration::ZERO);
    tokens.iter().fold(scenario, |scenario, token| {
        scenario.deny_token(DenyToken::new(token).expect("a token"))
    })
}

/// How many lines of a head set this field.
fn count(head: &str, name: &str) -> usize {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .count()
}

#[test]
fn the_upstream_sees_the_leased_key_and_not_the_clients_token() {
    let gateway = with_clients().scenario(denying(&[TOKEN])).start();
    gateway.chat().token(TOKEN).send().expect_status(200);
    let call = gateway.get("/v1/models").token(TOKEN);
    call.send().expect_status(200);
    let stats = gateway.mock().stats();
    assert_eq!(stats.forbidden_tokens, 0);
    assert_eq!(stats.key(&bearer()).requests, 2);
    assert_eq!(stats.keys.len(), 1, "no other key has been used");
}

#[test]
fn neither_token_header_of_a_client_arrives_upstream() {
    let upstream = RawUpstream::bind();
    let gateway = with_clients().upstream(upstream.address()).start();
    let client = gateway
        .chat()
        .token(TOKEN)
        .header("x-service-token", TOKEN)
        .spawn();
    let mut exchange = upstream.accept();
    assert_eq!(exchange.header("authorization"), Some(bearer().as_str()));
    assert_eq!(
        count(&exchange.head, "authorization"),
        1,
        "{}",
        exchange.head
    );
    assert_eq!(
        count(&exchange.head, "x-service-token"),
        0,
        "{}",
        exchange.head
    );
    assert!(!exchange.head.contains(TOKEN));
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
}

/// Header lines in which a client's token must not go upstream, beside the one by which
/// the client is known.
fn other_places_of_the_token() -> Vec<String> {
    let names = [
        "X-Api-Key",
        "x_api_key",
        "Api-Key",
        "API_KEY",
        "Proxy-Authorization",
        "proxy_authorization",
        "X_Service_Token",
        "X-Service_Token",
        "Some-Header",
    ];
    let mut lines: Vec<_> = names.map(|name| format!("{name}: {TOKEN}")).into();
    lines.push(format!("Proxy-Authorization: Bearer {TOKEN}"));
    lines.push(format!("Other-Header: Token {TOKEN}"));
    lines.push(format!("Cookie: a=b; token={TOKEN}; c=d"));
    lines.push(format!("User-Agent: app {TOKEN}"));
    lines
}

/// Headers that have to arrive, as they are no client's credentials.
const OTHERS: [&str; 3] = ["X-Api-Key-Id: 7", "OpenAI-Project: token-of", "X_Other: 1"];

#[test]
fn a_token_in_any_other_header_does_not_arrive_upstream() {
    let upstream = RawUpstream::bind();
    let gateway = with_clients()
        .tls()
        .server("underscores_in_headers on;")
        .upstream(upstream.address())
        .start();
    let arrived = || {
        let mut exchange = upstream.accept();
        let head = exchange.head.clone();
        exchange.answer();
        assert_eq!(count(&head, "authorization"), 1, "{head}");
        for line in OTHERS {
            assert!(head.to_lowercase().contains(&line.to_lowercase()), "{head}");
        }
        head
    };
    for own in ["Authorization: Bearer ", "X-Service-Token: "] {
        for line in other_places_of_the_token() {
            let own = format!("{own}{TOKEN}");
            let lines = [&*own, &*line].into_iter().chain(OTHERS);
            let text: String = lines.clone().map(|line| format!("{line}\r\n")).collect();
            let mut client = gateway.connect();
            client.send(post(&text, "{}"));
            let head = arrived();
            assert!(!head.contains(TOKEN), "{line}: {head}");
            client.answer().expect_status(200);

            let mut curl = http2::curl(&gateway, "/v1/models");
            for line in lines {
                curl.args(["-H", line]);
            }
            let client = thread::spawn(move || http2::run(curl));
            let head = arrived();
            assert!(!head.contains(TOKEN), "{line}, over HTTP/2: {head}");
            assert!(client.join().expect("curl").ends_with("\n2 200"));
        }
    }
}

/// nginx reads the values of these variables from the client's headers, not from a list.
#[test]
fn a_token_does_not_arrive_upstream_by_a_variable() {
    let upstream = RawUpstream::bind();
    let variables = "proxy_set_header User-Agent $http_user_agent; \
                     proxy_set_header Cookie $http_cookie; proxy_set_header Referer $http_referer; \
                     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
                     proxy_set_header X-Cookie $cookie_session; proxy_set_header X-Via $http_via;";
    let gateway = with_clients()
        .location(variables)
        .upstream(upstream.address())
        .start();
    for name in ["User-Agent", "Cookie", "Referer", "X-Forwarded-For", "Via"] {
        let mut client = gateway.connect();
        let own = format!("Authorization: Bearer {TOKEN}\r\n{name}: session={TOKEN}\r\n");
        client.send(post(&own, "{}"));
        let mut exchange = upstream.accept();
        assert!(!exchange.head.contains(TOKEN), "{name}: {}", exchange.head);
        exchange.answer();
        client.answer().expect_status(200);
    }
    let text = "Authorization: Bearer {TOKEN}\r\nUser-Agent: mine\r\nCookie: session=1\r\n";
    let mut client = gateway.connect();
    client.send(post(&text.replace("{TOKEN}", TOKEN), "{}"));
    let mut exchange = upstream.accept();
    for line in ["User-Agent: mine", "Cookie: session=1", "X-Cookie: 1"] {
        assert!(exchange.head.contains(line), "{line}: {}", exchange.head);
    }
    exchange.answer();
    client.answer().expect_status(200);
}

/// Where no token is asked for, what looks like a credential does not go upstream either.
#[test]
fn credentials_do_not_arrive_upstream_where_no_token_is_asked_for() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .location(
            "proxy_set_header X-Copy $http_x_api_key; proxy_set_header Api-Key configured;
             proxy_set_header X-Second \"<$http_api_key> <$http_proxy_authorization>\";",
        )
        .server("set $copy $http_x_api_key;")
        .upstream(upstream.address())
        .start();
    let mut client = gateway.connect();
    client.send(post(
        &format!("X-Api-Key: {TOKEN}\r\nApi-Key: {TOKEN}\r\nProxy-Authorization: {TOKEN}\r\n"),
        "{}",
    ));
    let mut exchange = upstream.accept();
    assert!(!exchange.head.contains(TOKEN), "{}", exchange.head);
    assert_eq!(exchange.header("api-key"), Some("configured"));
    assert_eq!(exchange.header("x-second"), Some("<> <>"));
    exchange.answer();
    client.answer().expect_status(200);
}

#[test]
fn a_client_may_show_its_token_in_the_header_of_the_lock_service() {
    let gateway = with_clients().scenario(denying(&[TOKEN])).start();
    let call = gateway.chat().header("x-service-token", TOKEN);
    call.send().expect_status(200);
    assert_eq!(gateway.mock().stats().key(&bearer()).requests, 1);
    assert_eq!(gateway.logged(1)[0].service, "labeling-service");
}

#[test]
fn a_request_without_authorization_gets_the_key() {
    let gateway = Plan::new().start();
    gateway.chat().send().expect_status(200);
    assert_eq!(gateway.mock().stats().key(&bearer()).requests, 1);
}

#[test]
fn a_request_without_authorization_over_a_short_path_gets_the_key() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new().upstream(upstream.address()).start();
    let mut client = gateway.connect();
    client.send("GET /v1/models HTTP/1.0\r\n\r\n");
    let mut exchange = upstream.accept();
    assert_eq!(exchange.header("authorization"), Some(bearer().as_str()));
    exchange.answer();
    assert_eq!(client.answer().status, 200);
}

#[test]
fn whatever_authorization_a_client_sends_is_replaced() {
    let gateway = Plan::new().start();
    for value in ["Bearer other", "Basic dXNlcjpwYXNz", "", "x"] {
        gateway
            .chat()
            .header("authorization", value)
            .send()
            .expect_status(200);
    }
    assert_eq!(gateway.mock().stats().key(&bearer()).requests, 4);
    assert_eq!(gateway.mock().stats().keys.len(), 1);
}

#[test]
fn of_two_authorizations_neither_arrives_upstream() {
    let gateway = Plan::new()
        .scenario(denying(&["token-one", "token-two"]))
        .start();
    let mut client = gateway.connect();
    client.send(
        "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Bearer token-one\r\nAuthorization: Bearer token-two\r\n\r\n",
    );
    // nginx itself refuses such a request in its newer versions.
    let status = client.answer().status;
    let stats = gateway.mock().stats();
    assert_eq!(stats.forbidden_tokens, 0);
    match status {
        200 => assert_eq!(stats.key(&bearer()).requests, 1),
        status => assert_eq!((status, stats.totals.requests), (400, 0)),
    }
}

#[test]
fn a_header_of_the_same_name_set_by_the_configuration_gives_way_to_the_key() {
    let upstream = RawUpstream::bind();
    let gateway = Plan::new()
        .upstream(upstream.address())
        .location("proxy_set_header Host api.openai.com;")
        .start();
    let client = gateway.chat().token("of-the-client").spawn();
    let mut exchange = upstream.accept();
    assert_eq!(exchange.header("host"), Some("api.openai.com"));
    assert_eq!(exchange.header("authorization"), Some(bearer().as_str()));
    assert_eq!(
        count(&exchange.head, "authorization"),
        1,
        "{}",
        exchange.head
    );
    exchange.answer();
    client.join().expect("an answer").expect_status(200);
}

/// Sends one request of every kind, and gives all that came back.
fn every_kind_of_answer(plan: Plan) -> (e2e::Gateway, String) {
    let gateway = plan
        .http(&format!(
            "upstream nobody {{ server 127.0.0.1:{}; }}",
            closed_port()
        ))
        .server("location /v1/nobody { openai main; proxy_pass http://nobody; }")
        .start();
    let calls = [
        gateway.chat().token(TOKEN),
        gateway.chat_with("{}").token(TOKEN),
        gateway.get("/v1/models").token(TOKEN),
        gateway.get("/v1/nobody").token(TOKEN),
        gateway.chat().token(TOKEN).header("x-mock-status", "401"),
        gateway.chat().token("wrong"),
    ];
    let mut reported = String::new();
    for call in &calls {
        let answer = call.send();
        reported.push_str(&format!(
            "{} {:?} {}\n",
            answer.status,
            answer.headers,
            answer.text()
        ));
    }
    gateway.logged(calls.len());
    reported.push_str(&gateway.access_log());
    (gateway, reported)
}

#[test]
fn neither_key_nor_token_is_in_any_answer_or_log() {
    let (gateway, reported) = every_kind_of_answer(with_clients());
    let log = gateway.error_log().text();
    for secret in [KEY, TOKEN] {
        assert!(
            !reported.contains(secret),
            "in an answer or in the access log"
        );
        assert!(!log.contains(secret), "in the error log");
    }
}

#[test]
fn the_key_is_not_in_a_debug_log_either() {
    let (gateway, _) = every_kind_of_answer(with_clients().log_level("debug"));
    let log = gateway.error_log().text();
    assert!(log.contains("[debug]"), "this nginx can log for debugging");
    let line = log.lines().find(|line| line.contains(KEY));
    assert!(
        line.is_none(),
        "{}",
        line.unwrap_or_default().replace(KEY, "<the key>")
    );
}

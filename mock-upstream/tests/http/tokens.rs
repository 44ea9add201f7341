//! Tokens that must never arrive.

use std::time::Duration;

use mock_upstream::{DenyToken, Scenario};

use crate::wire::{CHAT, connect, start};

#[test]
fn a_token_of_the_scenario_is_found_in_any_header_of_any_path() {
    let token = DenyToken::new("client-secret").expect("a token");
    let mock = start(Scenario::new().delay(Duration::ZERO).deny_token(token));
    let mut client = connect(mock.addr());
    for (method, path) in [("POST", CHAT), ("GET", "/v1/models"), ("POST", "/v1/files")] {
        for header in [
            ("authorization", "Bearer client-secret"),
            ("cookie", "a=1; t=client-secret"),
        ] {
            client.send(method, path, &[header], b"");
            let (head, json) = client.json();
            assert_eq!(
                (head.status, &json["error"]["code"]),
                (400, &"forbidden_token".into())
            );
            assert!(!json.to_string().contains("client-secret"));
        }
    }
    client.ask(&[("authorization", "Bearer sk-upstream")]);
    assert_eq!(client.whole_stream().0.status, 200);
    let stats = mock.stats();
    assert_eq!((stats.forbidden_tokens, stats.totals.requests), (6, 7));
    assert_eq!(stats.key("Bearer client-secret").requests, 3);
}

#[test]
fn a_token_of_the_request_is_looked_for_in_that_request() {
    let mock = start(Scenario::new().delay(Duration::ZERO));
    let mut client = connect(mock.addr());
    let check = ("x-mock-deny-token", "client-secret");
    client.ask(&[check, ("authorization", "Bearer sk-upstream")]);
    assert_eq!(client.whole_stream().0.status, 200);
    client.ask(&[check, ("authorization", "Bearer client-secret")]);
    assert_eq!(client.json().0.status, 400);
    client.ask(&[("authorization", "Bearer client-secret")]);
    assert_eq!(client.whole_stream().0.status, 200);
    assert_eq!(mock.stats().forbidden_tokens, 1);
}

//! A gateway with two upstreams, and routes to them.

use std::time::Duration;

use e2e::{Answer, Call, Gateway, Plan};
use mock_upstream::{MockServer, Scenario};

/// The keys of the two pools.
pub(super) const CLOUD: &str = "sk-e2e-cloud";
pub(super) const LOCAL: &str = "sk-e2e-local";

/// A second upstream.
pub(super) fn second() -> MockServer {
    MockServer::start(Scenario::new().delay(Duration::ZERO)).expect("the mock starts")
}

/// A plan whose pool `cloud` belongs to the gateway's own mock, the upstream `cloud`, and
/// `local` to that at `address`.
pub(super) fn plan(address: &str, routes: &str) -> Plan {
    Plan::new()
        .pool("cloud", &format!("key {CLOUD} id=cloud slots=8;"))
        .pool("local", &format!("key {LOCAL} id=local slots=8;"))
        .http("upstream cloud { server {upstream}; }")
        .http(&format!("upstream local {{ server {address}; }}"))
        .http(&format!("openai_routes models {{ {routes} }}"))
        .serves("openai_route models;")
        .proxied("proxy_pass http://$openai_upstream;")
}

/// A chat request for a model.
pub(super) fn chat(gateway: &Gateway, model: &str) -> Call {
    gateway.chat_with(serde_json::json!({ "model": model, "messages": [] }).to_string())
}

/// How many requests each of the two has had, with its own key and no other.
pub(super) fn served(gateway: &Gateway, second: &MockServer) -> (u64, u64) {
    let count = |mock: &MockServer, key: &str| {
        let stats = mock.stats();
        let own = stats.key(&format!("Bearer {key}")).requests;
        assert_eq!(stats.totals.requests, own, "a key at the wrong upstream");
        own
    };
    (count(gateway.mock(), CLOUD), count(second, LOCAL))
}

/// The message of an error.
pub(super) fn message(answer: &Answer) -> String {
    let json = answer.json();
    json["error"]["message"]
        .as_str()
        .expect("a message")
        .to_owned()
}

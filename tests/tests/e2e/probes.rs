//! Probes off the path of requests: of upstreams that fail, and of keys that were refused.

use std::time::Duration;

use e2e::{Authority, Gateway, Plan, wait_until};
use mock_upstream::{MockServer, Scenario, Server, Tls, key_hash};
use serde_json::Value;

const LISTING: &str = "location = /circuits { openai main; openai_auth off; access_log off; \
                       return 200 $openai_circuits; }";

fn plan(pool: &str, circuit: &str) -> Plan {
    Plan::new()
        .pool("main", pool)
        .http("upstream one { server {upstream} max_fails=0; }")
        .http(&format!("openai_upstream one {{ {circuit} }}"))
        .server(LISTING)
        .serves("openai main@one;")
        .proxied("proxy_pass http://$openai_upstream;")
}

const KEY: &str = "key sk-e2e-main-0001 id=main;";
/// A circuit that opens at once, and not for a moment.
const CIRCUIT: &str = "requests 1; open 1h max=1h;";

/// Has the circuit open. A probe may close it at once.
#[track_caller]
fn break_it(gateway: &Gateway) {
    let call = gateway.chat().header("x-mock-status", "500");
    assert_eq!(call.send().status, 500);
    gateway.error_log().wait_for("circuit_opened");
}

#[track_caller]
fn state(gateway: &Gateway) -> String {
    let listing = gateway.get("/circuits").send().expect_status(200).json();
    listing[0]["state"].as_str().expect("a state").to_owned()
}

/// The requests of this method that the key was used for.
fn requests(mock: &MockServer, method: &str, key: &str) -> Vec<Value> {
    let hash = key_hash(format!("Bearer {key}")).to_string();
    let all = mock.requests().into_iter();
    all.filter(|request| request["method"] == method && request["key"] == *hash)
        .collect()
}

#[test]
fn a_probe_finds_that_an_upstream_works_again() {
    let gateway = plan(
        KEY,
        &format!("{CIRCUIT} probe http://{{upstream}} interval=100ms;"),
    )
    .workers(2)
    .start();
    let fault = Scenario::from_toml("delay = 0\n[[fault]]\nstatus = 500").expect("a scenario");
    gateway.mock().set_scenario(fault);
    assert_eq!(gateway.chat().send().status, 500);
    wait_until("it is probed in vain", || {
        requests(gateway.mock(), "GET", "sk-e2e-main-0001").len() >= 3
    });
    assert_eq!(state(&gateway), "open");
    assert_eq!(gateway.chat().send().status, 503);
    gateway
        .mock()
        .set_scenario(Scenario::new().delay(Duration::ZERO));
    wait_until("a probe succeeds", || state(&gateway) == "closed");
    gateway.chat().send().expect_status(200);
    let probes = requests(gateway.mock(), "GET", "sk-e2e-main-0001");
    assert_eq!(probes[0]["path"], "/v1/models");
    let log = gateway.error_log().text();
    assert_eq!(log.matches("circuit_opened").count(), 1);
    assert_eq!(log.matches("circuit_closed").count(), 1);
}

#[test]
fn an_upstream_that_works_is_not_probed() {
    let gateway = plan(
        KEY,
        &format!("{CIRCUIT} probe http://{{upstream}}/v1/models/gpt-4o interval=100ms;"),
    )
    .start();
    gateway.chat().send().expect_status(200);
    let gone = format!("{CIRCUIT} probe http://127.0.0.1:1 interval=100ms;");
    let other = plan(KEY, &gone).start();
    break_it(&other);
    // Long enough for several intervals of the first.
    wait_until("the other is probed in vain", || {
        other.get("/circuits").send().json()[0]["trips"]
            .as_u64()
            .is_some_and(|trips| trips >= 4)
    });
    assert_eq!(gateway.mock().stats().totals.requests, 1);
    break_it(&gateway);
    wait_until("it is probed", || state(&gateway) == "closed");
    let probes = requests(gateway.mock(), "GET", "sk-e2e-main-0001");
    assert_eq!(probes[0]["path"], "/v1/models/gpt-4o");
}

#[test]
fn a_key_that_was_refused_is_probed_before_requests_get_it() {
    let revoked = "delay = 0\n[[key]]\ntoken = \"sk-e2e-main-0001\"\nstate = \"revoked\"\n";
    let gateway = plan(
        "key sk-e2e-main-0001 id=main; key sk-e2e-main-0002 id=other; \
         cool_down invalid_key=1500ms;",
        "probe http://{upstream} interval=500ms;",
    )
    .scenario(Scenario::from_toml(revoked).expect("a scenario"))
    .start();
    let mock = gateway.mock();
    wait_until("it is probed twice", || {
        gateway.chat().send().expect_status(200);
        requests(mock, "GET", "sk-e2e-main-0001").len() >= 2
    });
    assert_eq!(requests(mock, "POST", "sk-e2e-main-0001").len(), 1);
    mock.set_scenario(Scenario::new().delay(Duration::ZERO));
    wait_until("it is used again", || {
        gateway.chat().send().expect_status(200);
        requests(mock, "POST", "sk-e2e-main-0001").len() >= 3
    });
    assert!(gateway.error_log().text().contains("\"probe\":true"));
}

#[test]
fn a_probe_over_tls_is_believed_from_who_is_vouched_for() {
    let authority = Authority::create();
    let certificate = authority.issue("127.0.0.1");
    let tls = Tls::from_pem_files(&certificate.cert, &certificate.key).expect("a certificate");
    let second = Server::new(Scenario::new().delay(Duration::ZERO))
        .tls(tls)
        .start()
        .expect("the mock starts");
    let probe = |trusted: &str| {
        let plan = plan(
            KEY,
            &format!(
                "{CIRCUIT} probe https://{} interval=100ms {trusted};",
                second.addr()
            ),
        );
        plan.start()
    };
    let stranger = probe("");
    break_it(&stranger);
    wait_until("it is probed in vain", || {
        stranger.get("/circuits").send().json()[0]["trips"]
            .as_u64()
            .is_some_and(|trips| trips >= 4)
    });
    assert_eq!(state(&stranger), "open");
    let known = probe(&format!("trusted={}", authority.cert().display()));
    break_it(&known);
    wait_until("a probe succeeds", || state(&known) == "closed");
    assert_eq!(second.stats().totals.requests, 1);
}

/// The address that an older configuration probes may be the one that does not work.
#[test]
fn workers_of_an_older_configuration_do_not_probe() {
    let probed = |address: &str| format!("{CIRCUIT} probe http://{address} interval=400ms;");
    let mut gateway = plan(KEY, &probed("127.0.0.1:1")).start();
    let slow = gateway.chat().header("x-mock-words", "1000");
    let mut running = slow.header("x-mock-delay", "100ms").events();
    assert!(running.next().is_some(), "the stream has begun");
    let other = "key sk-e2e-main-0001 id=main slots=2;";
    gateway.reload(|_| plan(other, &probed("127.0.0.1:1")));
    break_it(&gateway);
    gateway.reload(|_| plan(other, &probed("{upstream}")));
    wait_until("a probe succeeds", || state(&gateway) == "closed");
    drop(running);
}

//! Circuits: an upstream that fails is left alone for a while, by all workers.

use std::time::Duration;

use e2e::{Answer, Gateway, Plan, RawUpstream, Refusal, closed_port, wait_until};
use mock_upstream::{MockServer, Scenario};
use serde_json::Value;

/// Reports the state of circuits, on any worker.
const LISTING: &str = "location = /circuits { openai main; openai_auth off; access_log off; \
                       return 200 $openai_circuits; }";

/// A pool whose requests go to these targets; `one` is the gateway's own mock.
fn plan(targets: &str, circuit: &str) -> Plan {
    Plan::new()
        .pool("main", "key sk-e2e-main-0001 id=main slots=8;")
        .http("upstream one { server {upstream} max_fails=0; }")
        .http(&format!("openai_upstream one {{ {circuit} }}"))
        .server(LISTING)
        .serves(&format!("openai {targets}; openai_next_key off;"))
        .proxied("proxy_pass http://$openai_upstream;")
}

fn with_second(targets: &str, circuit: &str) -> (Plan, MockServer) {
    let second = MockServer::start(Scenario::new().delay(Duration::ZERO)).expect("the mock starts");
    let plan = plan(targets, circuit)
        .pool("spare", "key sk-e2e-spare-0001 id=spare slots=8;")
        .http(&format!("upstream two {{ server {}; }}", second.addr()));
    (plan, second)
}

/// A request that the upstream answers so.
fn answered(gateway: &Gateway, status: &str) -> Answer {
    gateway.chat().header("x-mock-status", status).send()
}

#[track_caller]
fn listed(gateway: &Gateway) -> Vec<Value> {
    let listing = gateway.get("/circuits").send().expect_status(200).json();
    listing.as_array().expect("a list").clone()
}

#[track_caller]
fn state(gateway: &Gateway) -> String {
    let listed = listed(gateway);
    let one = listed.iter().find(|circuit| circuit["name"] == "one");
    one.expect("the circuit")["state"]
        .as_str()
        .expect("a state")
        .to_owned()
}

fn unavailable() -> Refusal {
    Refusal::new(503, "server_error", Some("upstream_unavailable"))
}

#[test]
fn an_upstream_that_fails_is_not_asked_until_a_probe_succeeds() {
    let gateway = plan("main@one", "requests 4; open 4s max=4s;").start();
    for _ in 0..4 {
        assert_eq!(answered(&gateway, "500").status, 500);
    }
    let listed = &listed(&gateway)[0];
    assert_eq!(listed["state"], "open");
    assert_eq!(listed["trips"], 1);
    assert!(listed["until"].is_string(), "{listed}");
    let refused = gateway.chat().send();
    let wait = refused.header("retry-after").and_then(|s| s.parse().ok());
    assert!(wait.is_some_and(|s: u32| (1..=5).contains(&s)), "{wait:?}");
    assert_eq!(refused.refusal(), unavailable());
    assert_eq!(gateway.mock().stats().totals.requests, 4);
    wait_until("it may be probed", || state(&gateway) == "half_open");
    gateway.chat().send().expect_status(200);
    assert_eq!(state(&gateway), "closed");
    gateway.wait_held(0, 0);
    let log = gateway.error_log().text();
    for event in ["circuit_opened", "circuit_closed"] {
        assert_eq!(log.matches(event).count(), 1, "{event}");
    }
}

#[test]
fn only_faults_of_the_upstream_count() {
    let gateway = plan("main@one", "requests 4; errors 1%;").start();
    for status in ["400", "404", "422", "200", "200", "200"] {
        answered(&gateway, status);
    }
    let listed = &listed(&gateway)[0];
    assert_eq!(
        (&listed["state"], &listed["share"], &listed["requests"]),
        (&"closed".into(), &0.0.into(), &6.into())
    );
    answered(&gateway, "503");
    assert_eq!(state(&gateway), "open");
}

#[test]
fn no_connection_and_no_answer_in_time_count_as_well() {
    let refused = plan("main@one", "requests 2;").upstream(format!("127.0.0.1:{}", closed_port()));
    let late = plan("main@one", "requests 2;").location("proxy_read_timeout 200ms;");
    for (plan, status) in [(refused, 502), (late, 504)] {
        let gateway = plan.start();
        for _ in 0..2 {
            let answer = gateway.chat().header("x-mock-header-delay", "60s").send();
            assert_eq!(answer.status, status);
        }
        assert_eq!(gateway.chat().send().refusal(), unavailable());
    }
}

#[test]
fn failures_in_a_row_open_it_however_few_requests_there_are() {
    let gateway = plan("main@one", "open 1h;").start();
    for status in [
        "500", "500", "503", "500", "200", "500", "500", "500", "500",
    ] {
        answered(&gateway, status);
    }
    assert_eq!(state(&gateway), "closed");
    answered(&gateway, "500");
    assert_eq!(state(&gateway), "open");
    assert_eq!(gateway.chat().send().refusal(), unavailable());
    let log = gateway.error_log().text();
    let opened = log.lines().find(|line| line.contains("circuit_opened"));
    let opened = opened.expect("an event");
    assert!(opened.contains("\"consecutive\":5"), "{opened}");
}

/// A request that no upstream can answer says little of the upstream.
#[test]
fn attempts_of_one_request_count_once() {
    let gateway = plan("main@one", "failures 3; requests 4; open 1h;")
        .serves("openai main@one;")
        .start();
    for _ in 0..2 {
        assert_eq!(answered(&gateway, "500").status, 500);
    }
    let attempts = gateway.mock().stats().totals.requests;
    assert!(attempts > 3, "{attempts}");
    assert_eq!(state(&gateway), "closed");
    answered(&gateway, "500");
    assert_eq!(state(&gateway), "open");
}

/// What a location with `openai` and `proxy_pass` has, without a word of upstreams.
#[test]
fn three_lines_have_a_circuit() {
    let gateway = Plan::new().server(LISTING).start();
    let listing = listed(&gateway);
    assert_eq!(listing.len(), 1, "{listing:?}");
    assert_eq!(listing[0]["name"], "upstream");
    for _ in 0..5 {
        assert_eq!(answered(&gateway, "500").status, 500);
    }
    assert_eq!(listed(&gateway)[0]["trips"], 1);
    let sent = gateway.mock().stats().totals.requests;
    let refused = gateway.chat().send();
    let wait = refused.header("retry-after").and_then(|s| s.parse().ok());
    assert!(wait.is_some_and(|s: u32| (1..=7).contains(&s)), "{wait:?}");
    assert_eq!(refused.refusal(), unavailable());
    assert_eq!(gateway.mock().stats().totals.requests, sent);
    wait_until("it is closed by a probe", || {
        gateway.chat().send().status == 200
    });
    assert_eq!(listed(&gateway)[0]["state"], "closed");
}

#[test]
fn keys_that_are_refused_are_no_failure_of_the_upstream() {
    let keys: String = (0..8)
        .map(|n| format!("key sk-e2e-main-000{n} id=k{n};"))
        .collect();
    let gateway = Plan::new()
        .server(LISTING)
        .pool("main", &keys)
        .serves("openai main; openai_next_key off;")
        .start();
    for status in ["401", "429", "401", "429", "401", "429", "404"] {
        answered(&gateway, status);
    }
    let listed = &listed(&gateway)[0];
    assert_eq!(
        (&listed["state"], &listed["share"], &listed["requests"]),
        (&"closed".into(), &0.0.into(), &7.into())
    );
}

/// By the host, with its port, or by the name of the `upstream` block; what is made of
/// variables has none.
#[test]
fn upstreams_are_named_by_where_locations_send() {
    let gateway = Plan::new()
        .server(LISTING)
        .server(
            "location /a/ { openai main; proxy_pass http://127.0.0.1:9/;
                 location /a/b/ { proxy_pass http://127.0.0.2; }
                 location /a/c/ { if ($arg_x) { set $y 1; } proxy_pass http://127.0.0.1:9; } }
             location /d/ { openai main@named; proxy_pass http://127.0.0.3; }
             location /e/ { openai main; proxy_pass http://$host:9; }
             location /f/ { openai main; grpc_pass grpc://127.0.0.4:9; }
             location /g/ { proxy_pass http://127.0.0.5; }",
        )
        .start();
    let mut names: Vec<_> = listed(&gateway)
        .iter()
        .map(|circuit| circuit["name"].as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    let expected = [
        "127.0.0.1:9",
        "127.0.0.2",
        "127.0.0.4:9",
        "named",
        "upstream",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_block_is_for_locations_too_that_send_to_its_upstream() {
    let gateway = Plan::new()
        .server(LISTING)
        .http("openai_upstream upstream { errors off; }")
        .start();
    for _ in 0..30 {
        assert_eq!(answered(&gateway, "500").status, 500);
    }
    assert_eq!(listed(&gateway)[0]["share"], 100.0);
}

/// More than there is room for: those that the configuration names come first.
#[test]
fn circuits_that_are_named_have_precedence() {
    let many: String = (1..=80)
        .map(|n| format!("location /n{n}/ {{ openai main; proxy_pass http://127.0.1.{n}; }}\n"))
        .collect();
    let gateway = plan("main@one", "").server(&many).start();
    let listed = listed(&gateway);
    assert_eq!(listed.len(), 64);
    assert_eq!(state(&gateway), "closed");
}

#[test]
fn a_later_target_is_the_fallback() {
    let (plan, second) = with_second("main@one spare@two", "requests 2;");
    let gateway = plan.start();
    for _ in 0..2 {
        answered(&gateway, "500");
    }
    for _ in 0..3 {
        gateway.chat().send().expect_status(200);
    }
    assert_eq!(gateway.mock().stats().totals.requests, 2);
    assert_eq!(second.stats().key("Bearer sk-e2e-spare-0001").requests, 3);
}

#[test]
fn a_location_can_be_the_fallback() {
    let (plan, second) = with_second("main@one", "requests 2;");
    let gateway = plan
        .location("error_page 503 = @fallback;")
        .server("location @fallback { openai spare; proxy_pass http://two; }")
        .start();
    for _ in 0..2 {
        answered(&gateway, "500");
    }
    let answer = gateway.chat().send().expect_status(200);
    assert_eq!(answer.said(), "powered by openai");
    gateway.wait_held(0, 0);
    assert_eq!(gateway.mock().stats().totals.requests, 2);
    assert_eq!(second.stats().key("Bearer sk-e2e-spare-0001").requests, 1);
}

#[test]
fn a_request_that_fails_goes_on_to_the_next_target() {
    let (plan, second) = with_second("main@one spare@two", "requests 3;");
    let gateway = plan
        .scenario(Scenario::from_toml("delay = 0\n[[fault]]\nstatus = 500").expect("a scenario"))
        .serves("openai main@one spare@two;")
        .start();
    for _ in 0..6 {
        gateway.chat().send().expect_status(200);
    }
    assert_eq!(gateway.mock().stats().totals.requests, 3);
    assert_eq!(second.stats().totals.requests, 6);
}

#[test]
fn workers_share_circuits_and_reloads_keep_them() {
    let mut gateway = plan("main@one", "requests 4; open 1h;").workers(2).start();
    for _ in 0..4 {
        answered(&gateway, "500");
    }
    for _ in 0..8 {
        assert_eq!(gateway.chat().send().refusal(), unavailable());
    }
    gateway.reload(|plan| plan);
    assert_eq!(gateway.chat().send().refusal(), unavailable());
    assert_eq!(gateway.mock().stats().totals.requests, 4);
    gateway.reload(|_| plan("main@one", "errors off;").workers(2));
    gateway.chat().send().expect_status(200);
}

#[test]
fn who_waited_for_a_key_meanwhile_is_not_sent_to_it() {
    let gateway = plan("main@one", "requests 1; open 1h;")
        .pool("main", "key sk-e2e-main-0001 id=main;")
        .start();
    let failing = gateway
        .chat()
        .header("x-mock-header-delay", "3s")
        .header("x-mock-status", "500")
        .spawn();
    gateway.wait_held(1, 0);
    let waiting: Vec<_> = (0..3).map(|_| gateway.chat().spawn()).collect();
    gateway.wait_held(1, 3);
    assert_eq!(failing.join().expect("an answer").status, 500);
    for call in waiting {
        assert_eq!(call.join().expect("an answer").refusal(), unavailable());
    }
    gateway.wait_held(0, 0);
    assert_eq!(gateway.mock().stats().totals.requests, 1);
}

/// They were granted a lease, one after the other, and sent nothing.
#[test]
fn requests_that_an_open_circuit_refuses_use_up_no_limit_of_the_key() {
    let upstream = RawUpstream::bind();
    let gateway = plan("main@one", "requests 1; open 1s max=1s;")
        .pool(
            "main",
            "key sk-e2e-main-0001 id=main; limit rpm=4; wait 8s;",
        )
        .upstream(upstream.address())
        .start();
    let first = gateway.chat().spawn();
    let mut exchange = upstream.accept();
    let waiting = [(); 3].map(|()| gateway.chat().spawn());
    gateway.wait_held(1, 3);
    exchange.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(first.join().expect("an answer").status, 500);
    for client in waiting {
        assert_eq!(client.join().expect("an answer").refusal(), unavailable());
    }
    wait_until("the circuit admits a probe", || state(&gateway) != "open");
    let probe = gateway.chat().spawn();
    upstream.accept().answer();
    probe.join().expect("an answer").expect_status(200);
}

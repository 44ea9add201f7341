//! Keys that are out on one machine are out on all.

use e2e::{Gateway, Plan, Redis, wait_until};
use mock_upstream::Scenario;
use serde_json::Value;

use super::{group, holders, number, on_group, wait_states};

const FIRST: &str = "sk-e2e-cool-0001";
const SECOND: &str = "sk-e2e-cool-0002";
const RECORD: &str = "{main}:c:k1";

/// A machine whose pool begins with a key in this state, and has another.
fn machine(nodes: &[Redis], state: &str, store: &str) -> Plan {
    let scenario = format!("delay = 0\n[[key]]\ntoken = \"{FIRST}\"\nstate = \"{state}\"\n");
    on_group(&group(nodes, "bootstrap on;"))
        .pool(
            "main",
            &format!("key {FIRST} id=k1; key {SECOND} id=k2; store {store};"),
        )
        .server(
            "location = /keys { openai main; openai_auth off; access_log off; \
             return 200 $openai_pool_keys; }",
        )
        .scenario(Scenario::from_toml(&scenario).expect("a scenario"))
}

/// The first machine, whose mock is everybody's, and the nodes as it sees them.
fn first(nodes: &[Redis], state: &str, up: &str) -> Gateway {
    let gateway = machine(nodes, state, "locks").start();
    wait_states(&gateway, up);
    gateway
}

/// One more machine before the same upstream.
fn another(nodes: &[Redis], first: &Gateway, up: &str) -> Gateway {
    let plan = machine(nodes, "good", "locks").upstream(first.mock().addr().to_string());
    let gateway = plan.start();
    wait_states(&gateway, up);
    gateway
}

/// How often the first key was sent upstream.
fn uses(gateway: &Gateway) -> u64 {
    let stats = gateway.mock().stats();
    stats.key(&format!("Bearer {FIRST}")).requests
}

#[track_caller]
fn is_out(gateway: &Gateway) -> bool {
    let listing = gateway.get("/keys").send().expect_status(200).json();
    let keys = listing.as_array().expect("a list").iter();
    let key = keys.into_iter().find(|key| key["id"] == "k1");
    key.expect("the key")["cause"] != Value::Null
}

#[track_caller]
fn wait_out(gateway: &Gateway) {
    wait_until("the key is out", || is_out(gateway));
}

#[track_caller]
fn serve(gateway: &Gateway, requests: usize) {
    for _ in 0..requests {
        gateway.chat().send().expect_status(200);
    }
    gateway.wait_held(0, 0);
}

#[test]
fn what_one_machine_learns_of_a_key_all_know_and_those_that_start_later() {
    for state in ["revoked", "out_of_quota"] {
        let nodes = Redis::group(3);
        let one = first(&nodes, state, "up,up,up");
        let two = another(&nodes, &one, "up,up,up");
        serve(&one, 1);
        wait_out(&two);
        serve(&two, 4);
        wait_until("every node has the record", || holders(&nodes, RECORD) == 3);
        drop(two);
        let two = another(&nodes, &one, "up,up,up");
        serve(&two, 4);
        assert_eq!(uses(&one), 1, "{state}");
        let log = two.error_log().text();
        assert_eq!(
            log.matches("\"key_cooling_down\"").count(),
            1,
            "reported once"
        );
    }
}

#[test]
fn a_node_that_is_down_is_not_needed() {
    let mut nodes = Redis::group(3);
    nodes[0].kill();
    let one = first(&nodes, "revoked", "down,up,up");
    let two = another(&nodes, &one, "down,up,up");
    serve(&one, 1);
    wait_out(&two);
    serve(&two, 4);
    assert_eq!(uses(&one), 1);
}

#[test]
fn the_word_of_one_node_is_enough() {
    let nodes = Redis::group(3);
    nodes[2].ask(&format!("SET {RECORD} \"rate_limited 1\" PX 600000"));
    let gateway = first(&nodes, "good", "up,up,up");
    serve(&gateway, 3);
    assert_eq!(uses(&gateway), 0);
}

#[test]
fn a_cool_down_ends_everywhere() {
    let nodes = Redis::group(3);
    nodes[0].ask(&format!("SET {RECORD} \"rate_limited 1\" PX 1500"));
    let gateway = first(&nodes, "good", "up,up,up");
    wait_until("the key is used again", || {
        serve(&gateway, 1);
        uses(&gateway) > 0
    });
}

#[test]
fn nodes_that_may_not_send_messages_are_asked() {
    let nodes = Redis::group(3);
    for node in &nodes {
        node.ask("ACL SETUSER default resetchannels");
    }
    let one = first(&nodes, "revoked", "up,up,up");
    let two = another(&nodes, &one, "up,up,up");
    serve(&one, 1);
    wait_out(&two);
    serve(&two, 4);
    assert_eq!(uses(&one), 1);
}

#[test]
fn what_is_no_record_is_ignored() {
    let nodes = Redis::group(3);
    nodes[0].ask(&format!("HSET {RECORD} revoked 1"));
    nodes[1].ask(&format!("SET {RECORD} \"invalid_key 1\""));
    nodes[2].ask(&format!("SET {RECORD} nonsense PX 600000"));
    let gateway = first(&nodes, "good", "up,up,up");
    for message in [
        "k1",
        "\"k1 revoked 1\"",
        "\"k9 revoked 1 60000\"",
        "\"k1 asleep 1 60000\"",
    ] {
        let reported = nodes[0].number(&format!("PUBLISH {{main}}:c {message}"));
        assert!(reported > 0);
    }
    serve(&gateway, 4);
    assert_eq!(uses(&gateway), 2, "each in turn");
}

#[test]
fn a_pool_of_one_machine_sends_nothing() {
    let nodes = Redis::group(1);
    let gateway = machine(&nodes, "revoked", "shm")
        .pool("locked", "key sk-e2e-locked-0001 id=locked; store locks;")
        .server("location /locked/ { openai locked; proxy_pass http://upstream/v1/; }")
        .start();
    serve(&gateway, 1);
    assert!(is_out(&gateway));
    wait_until("the node is up", || {
        gateway.get("/locked/models").send().status == 200
    });
    assert_eq!(number(&nodes[0].ask(&format!("EXISTS {RECORD}"))), 0);
}

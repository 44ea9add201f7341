//! nginx starts without Redis, and finds it later.

use e2e::{Gateway, Redis, wait_until};

use super::{plan, plan_with, wait_states};

fn absent() -> Vec<Redis> {
    (0..3).map(|_| Redis::absent()).collect()
}

fn events(gateway: &Gateway, event: &str) -> Vec<String> {
    let name = format!("\"event\":\"{event}\"");
    let text = gateway.error_log().text();
    let lines = text.lines().filter(|line| line.contains(&name));
    lines.map(str::to_owned).collect()
}

#[test]
fn nginx_starts_without_redis_and_heals_when_it_comes() {
    let mut nodes = absent();
    let plan = plan(&nodes).workers(2);
    let test = plan.check();
    assert!(test.ok, "{}", test.output);
    let gateway = plan.start();
    wait_until("every worker has missed every node", || {
        events(&gateway, "redis_node_down").len() >= 6
    });
    for _ in 0..5 {
        let refusal = gateway.chat().send().expect_status(503).refusal();
        assert_eq!(refusal.code.as_deref(), Some("lock_unavailable"));
    }
    nodes.iter_mut().for_each(Redis::restart);
    wait_until("every worker has every node", || {
        events(&gateway, "redis_node_up").len() >= 6
    });
    for _ in 0..5 {
        gateway.chat().send().expect_status(200);
    }
    let down = events(&gateway, "redis_node_down");
    assert_eq!(down.len(), 6, "one a worker and node: {down:#?}");
    for redis in &nodes {
        let name = format!("\"node\":\"127.0.0.1:{}\"", redis.port());
        assert_eq!(down.iter().filter(|line| line.contains(&name)).count(), 2);
    }
    assert_eq!(events(&gateway, "redis_node_up").len(), 6);
}

/// Two of three are there, and one comes and goes: that is reported each time.
#[test]
fn a_node_that_comes_and_goes_is_reported_each_time() {
    let mut nodes = Redis::group(3);
    let gateway = plan_with(&nodes, "", "lease_ttl 1s;").start();
    wait_states(&gateway, "up,up,up");
    for times in 1..=2 {
        nodes[1].kill();
        wait_states(&gateway, "up,down,up");
        gateway.chat().send().expect_status(200);
        assert_eq!(events(&gateway, "redis_node_down").len(), times);
        nodes[1].restart();
        wait_states(&gateway, "up,up,up");
        gateway.chat().send().expect_status(200);
        assert_eq!(events(&gateway, "redis_node_up").len(), times);
    }
}

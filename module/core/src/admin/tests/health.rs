use crate::admin::*;
use crate::circuit::{CircuitState, CircuitView, Counts};
use crate::lease::{Cause, KeyView, PoolGauges};
use crate::view::{NodeStatus, PoolView, UpstreamView};

fn pool(name: &str) -> PoolView {
    PoolView {
        name: name.into(),
        gauges: PoolGauges {
            slots: 3,
            keys: 3,
            ..PoolGauges::default()
        },
        ..PoolView::default()
    }
}

fn nodes(states: &[&str]) -> Vec<NodeStatus> {
    let nodes = states.iter().enumerate();
    let nodes = nodes.map(|(at, state)| NodeStatus {
        node: format!("10.0.0.{at}:6379"),
        state: (*state).into(),
        error: (*state == "failing").then(|| "OOM".into()),
        round_trip_us: None,
    });
    nodes.collect()
}

fn locked(states: &[&str]) -> PoolView {
    PoolView {
        nodes: nodes(states),
        needed: states.len() / 2 + 1,
        ..pool("main")
    }
}

fn upstream(state: CircuitState, all: u32, failed: u32) -> UpstreamView {
    UpstreamView {
        name: "api.openai.com".into(),
        circuit: CircuitView {
            state,
            all: 0,
            failed: 0,
            until_ms: None,
            trips: 0,
            recent: Counts { all, failed },
        },
    }
}

fn of(pools: &[PoolView], upstreams: &[UpstreamView]) -> (HealthStatus, Vec<String>) {
    let health = Health::of(pools, upstreams, "now".into());
    let findings = health.findings.iter();
    let messages = findings.map(|it| it.message.clone()).collect();
    assert!(health.findings.iter().all(|it| !it.advice.is_empty()));
    (health.status, messages)
}

use HealthStatus::{Degraded, Healthy, Unhealthy};

#[test]
fn nothing_is_found_where_all_is_well() {
    let well = [pool("main"), locked(&["up", "up", "up"])];
    assert_eq!(
        of(&well, &[upstream(CircuitState::Closed, 10, 4)]),
        (Healthy, vec![])
    );
    assert_eq!(of(&[], &[]).0, Unhealthy, "there is nothing to lease");
}

#[test]
fn an_upstream_that_fails_leaves_the_gateway_degraded() {
    for (facts, says) in [
        (
            upstream(CircuitState::Closed, 5, 5),
            "Upstream api.openai.com fails: 5 of 5 attempts",
        ),
        (upstream(CircuitState::Closed, 10, 5), "5 of 10 attempts"),
        (
            upstream(CircuitState::Open, 0, 0),
            "The circuit of api.openai.com is open",
        ),
        (upstream(CircuitState::HalfOpen, 0, 0), "is half open"),
    ] {
        let (status, messages) = of(&[pool("main")], &[facts]);
        assert_eq!(status, Degraded, "{says}");
        assert!(
            messages.len() == 1 && messages[0].contains(says),
            "{messages:?}"
        );
    }
    let few = upstream(CircuitState::Closed, 4, 4);
    assert_eq!(of(&[pool("main")], &[few]).0, Healthy, "too few requests");
}

#[test]
fn requests_of_a_pool_that_fail_leave_it_degraded() {
    let of_recent = |all, failed| {
        let recent = Counts { all, failed };
        of(
            &[PoolView {
                recent,
                ..pool("main")
            }],
            &[],
        )
    };
    let (status, messages) = of_recent(6, 3);
    assert_eq!(status, Degraded);
    assert_eq!(
        messages,
        ["3 of 6 requests of pool main failed in the last minute."]
    );
    assert_eq!(of_recent(6, 2).0, Healthy);
    assert_eq!(of_recent(4, 4).0, Healthy);
}

#[test]
fn nodes_are_told_by_their_addresses() {
    let (status, messages) = of(&[locked(&["up", "failing", "up"])], &[]);
    assert_eq!(status, Degraded);
    assert_eq!(messages, ["Redis node 10.0.0.1:6379 is failing (OOM)."]);
    let twice = [locked(&["up", "down", "up"]), locked(&["up", "down", "up"])];
    assert_eq!(of(&twice, &[]).1.len(), 1, "one node, two pools");
}

#[test]
fn without_a_quorum_there_is_no_lease() {
    for states in [["failing", "failing", "up"], ["down", "quarantined", "up"]] {
        let facts = locked(&states);
        let (status, messages) = of(std::slice::from_ref(&facts), &[]);
        assert_eq!(status, Unhealthy);
        assert!(messages[0].contains("1 of 3 Redis nodes of pool main can vote, 2 are needed"));
        let fallback = PoolView {
            falls_back: true,
            ..facts.clone()
        };
        assert_eq!(of(&[fallback], &[]).0, Degraded);
        assert_eq!(
            of(&[facts, pool("other")], &[]).0,
            Degraded,
            "another pool works"
        );
    }
    assert_eq!(of(&[locked(&["up", "suspect", "down"])], &[]).0, Degraded);
}

#[test]
fn keys_that_are_out_count() {
    let key = |cause| {
        let view = KeyView {
            cause,
            ..KeyView::default()
        };
        (String::new(), view)
    };
    let keys = |causes: [Option<Cause>; 3]| PoolView {
        gauges: PoolGauges {
            keys_cooling_down: causes.iter().flatten().count() as u32,
            ..pool("main").gauges
        },
        keys: causes.map(key).into(),
        ..pool("main")
    };
    let (limited, invalid) = (Some(Cause::RateLimited), Some(Cause::InvalidKey));
    let spent = Some(Cause::QuotaExceeded);
    assert_eq!(of(&[keys([invalid, spent, None])], &[]).0, Degraded);
    let returns = [limited, invalid, spent];
    assert_eq!(of(&[keys(returns)], &[]).0, Degraded, "one returns");
    assert_eq!(of(&[keys([invalid, spent, spent])], &[]).0, Unhealthy);
    let absent = PoolView {
        gauges: PoolGauges::default(),
        ..pool("main")
    };
    assert_eq!(of(&[absent], &[]).0, Unhealthy);
}

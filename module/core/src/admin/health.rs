//! Health of the gateway, derived from its pools, nodes and upstreams.

use serde::Serialize;
use utoipa::ToSchema;

use super::response::{Health, HealthStatus, PoolHealth, UpstreamHealth};
use crate::circuit::{CircuitState, Counts};
use crate::view::{NodeStatus, PoolView, UpstreamView};

/// Minimum number of requests in the last minute before a share of failures matters.
const FEWEST: u32 = 5;

/// Subject of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A key pool.
    Pool,
    /// The API keys of a pool.
    Keys,
    /// A Redis node.
    Node,
    /// An upstream.
    Upstream,
}

/// A problem, with advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// `degraded`, or `unhealthy` for a pool that cannot lease.
    #[schema(inline)]
    pub status: HealthStatus,
    /// What has the problem.
    #[schema(inline)]
    pub subject: Subject,
    /// Name of the pool or upstream, or address of the node.
    pub name: String,
    /// Description of the problem.
    pub message: String,
    /// What an operator can do.
    pub advice: String,
}

impl Finding {
    fn new(
        status: HealthStatus,
        subject: Subject,
        name: &str,
        message: String,
        advice: &str,
    ) -> Self {
        Self {
            status,
            subject,
            name: name.to_owned(),
            message,
            advice: advice.to_owned(),
        }
    }
}

/// Whether at least half of sufficiently many requests failed.
fn fails(recent: Counts) -> bool {
    recent.all >= FEWEST && u64::from(recent.failed) * 2 >= u64::from(recent.all)
}

impl Health {
    /// Derives the health. The gateway is unhealthy when no pool can lease keys.
    #[must_use]
    pub fn of(pools: &[PoolView], upstreams: &[UpstreamView], timestamp: String) -> Self {
        let mut findings = vec![];
        let pools = pools.iter().map(|view| pool(view, &mut findings));
        let pools: Vec<_> = pools.collect();
        let upstreams = upstreams.iter().map(|view| upstream(view, &mut findings));
        let upstreams = upstreams.collect();
        let works = |pool: &PoolHealth| pool.status != HealthStatus::Unhealthy;
        let status = match pools.iter().any(works) {
            false => HealthStatus::Unhealthy,
            true if findings.is_empty() => HealthStatus::Healthy,
            true => HealthStatus::Degraded,
        };
        Self {
            status,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            findings,
            pools,
            upstreams,
            timestamp,
        }
    }
}

fn pool(view: &PoolView, findings: &mut Vec<Finding>) -> PoolHealth {
    let own = [leases(view), votes(view), requests(view)];
    let own = own.into_iter().flatten();
    let own: Vec<_> = own.chain(view.nodes.iter().filter_map(node)).collect();
    let status = own.iter().map(|finding| finding.status).max();
    for finding in own {
        // Pools of the same group share its nodes.
        if finding.subject != Subject::Node || !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    PoolHealth {
        pool: view.name.clone(),
        status: status.unwrap_or(HealthStatus::Healthy),
        slots: view.gauges.slots,
        held: view.gauges.held,
        waiting: view.gauges.waiting,
        keys: view.gauges.keys,
        keys_cooling_down: view.gauges.keys_cooling_down,
        nodes: view.nodes.iter().map(|node| node.state.clone()).collect(),
        recent_requests: view.recent.all,
        recent_failed: view.recent.failed,
    }
}

/// A finding if the pool has no slots, or some of its keys are cooling down.
fn leases(view: &PoolView) -> Option<Finding> {
    let (pool, cooling, all) = (&view.name, view.gauges.keys_cooling_down, view.gauges.keys);
    let (status, subject, message, advice) = if view.gauges.slots == 0 {
        (
            HealthStatus::Unhealthy,
            Subject::Pool,
            format!("Pool {pool} has no slots."),
            "Check the error log for messages about its keys and openai_zone.",
        )
    } else if cooling == 0 {
        return None;
    } else if cooling == all && view.is_unusable() {
        (
            HealthStatus::Unhealthy,
            Subject::Keys,
            format!("Every key of pool {pool} is invalid or out of quota."),
            "Replace the keys, or check their accounts at the provider.",
        )
    } else {
        (
            HealthStatus::Degraded,
            Subject::Keys,
            format!("{cooling} of {all} keys of pool {pool} cannot be used now."),
            "A key over its rate limit recovers by itself. Replace an invalid key. For a key out \
             of quota, check the account.",
        )
    };
    Some(Finding::new(status, subject, pool, message, advice))
}

/// A finding if too few nodes vote.
fn votes(view: &PoolView) -> Option<Finding> {
    let (voting, needed) = (view.nodes_in(&["up", "suspect"]), view.needed);
    if voting >= needed {
        return None;
    }
    let (status, so) = match view.falls_back {
        true => (
            HealthStatus::Degraded,
            "leases are exclusive on this machine only",
        ),
        false => (HealthStatus::Unhealthy, "no request gets a key"),
    };
    let (pool, all) = (&view.name, view.nodes.len());
    let message = format!(
        "{voting} of {all} Redis nodes of pool {pool} can vote, {needed} are needed: {so}."
    );
    let advice = "Start the Redis nodes that are down.";
    Some(Finding::new(status, Subject::Pool, pool, message, advice))
}

/// A finding if too many requests failed.
fn requests(view: &PoolView) -> Option<Finding> {
    let (pool, Counts { all, failed }) = (&view.name, view.recent);
    let message = format!("{failed} of {all} requests of pool {pool} failed in the last minute.");
    let advice = "The access log has the outcome of each.";
    let status = HealthStatus::Degraded;
    fails(view.recent).then(|| Finding::new(status, Subject::Pool, pool, message, advice))
}

fn node(node: &NodeStatus) -> Option<Finding> {
    let (name, state) = (&node.node, &*node.state);
    let advice = match state {
        "up" => return None,
        "suspect" => "The node is slow: check its load and the network.",
        "failing" => "The node answers commands with errors: check its memory, replicas and ACL.",
        "quarantined" => "The node may have lost locks. It votes again after its quarantine.",
        _ => "Check that the server runs and can be reached. The error log has the reason.",
    };
    let error = node.error.as_ref().map(|error| format!(" ({error})"));
    let message = format!("Redis node {name} is {state}{}.", error.unwrap_or_default());
    let status = HealthStatus::Degraded;
    Some(Finding::new(status, Subject::Node, name, message, advice))
}

fn upstream(view: &UpstreamView, findings: &mut Vec<Finding>) -> UpstreamHealth {
    let (name, circuit) = (&view.name, &view.circuit);
    let Counts { all, failed } = circuit.recent;
    let text = format!("{failed} of {all} attempts failed in the last minute.");
    let message = match circuit.state {
        CircuitState::Open => Some(format!("The circuit of {name} is open: {text}")),
        CircuitState::HalfOpen => Some(format!(
            "The circuit of {name} is half open: the next requests are probes."
        )),
        CircuitState::Closed if fails(circuit.recent) => {
            Some(format!("Upstream {name} fails: {text}"))
        }
        CircuitState::Closed => None,
    };
    let status = match message {
        Some(_) => HealthStatus::Degraded,
        None => HealthStatus::Healthy,
    };
    let advice = "Check the error log and the provider's status page. The gateway probes the \
                  upstream by itself.";
    let finding = |message| Finding::new(status, Subject::Upstream, name, message, advice);
    findings.extend(message.map(finding));
    UpstreamHealth {
        upstream: name.clone(),
        status,
        circuit: circuit.state.as_str().to_owned(),
        recent_attempts: all,
        recent_failed: failed,
    }
}

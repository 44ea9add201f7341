//! Health of the gateway, derived from its pools, nodes and upstreams.

use serde::Serialize;
use utoipa::ToSchema;

use super::response::{Health, HealthStatus, PoolHealth, UpstreamHealth};
use super::status::NodeStatus;
use crate::circuit::{CircuitState, CircuitView, Counts};
use crate::lease::PoolGauges;

/// Minimum number of requests in the last minute before a share of failures matters.
const FEWEST: u32 = 5;

/// Facts about a pool from which its health is derived.
#[derive(Clone, Debug, Default)]
pub struct PoolFacts {
    /// Name.
    pub pool: String,
    /// Current state; `None` when the zone does not contain the pool.
    pub gauges: Option<PoolGauges>,
    /// Whether all keys are invalid or out of quota.
    pub is_unusable: bool,
    /// The Redis nodes, if the pool has any.
    pub nodes: Vec<NodeStatus>,
    /// Number of nodes that must vote; 0 if the pool needs no nodes.
    pub needed: usize,
    /// Whether leases fall back to this machine when too few nodes vote.
    pub falls_back: bool,
    /// Requests of the last minute.
    pub recent: Counts,
}

/// Facts about an upstream from which its health is derived.
#[derive(Clone, Debug)]
pub struct UpstreamFacts {
    /// Name.
    pub upstream: String,
    /// State and counts of its circuit.
    pub circuit: CircuitView,
}

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

/// Whether at least half of sufficiently many requests failed.
fn fails(recent: Counts) -> bool {
    recent.all >= FEWEST && u64::from(recent.failed) * 2 >= u64::from(recent.all)
}

impl Health {
    /// Derives the health. The gateway is unhealthy when no pool can lease keys.
    #[must_use]
    pub fn of(pools: &[PoolFacts], upstreams: &[UpstreamFacts], timestamp: String) -> Self {
        let mut findings = vec![];
        let pools: Vec<_> = pools
            .iter()
            .map(|facts| facts.judge(&mut findings))
            .collect();
        let upstreams: Vec<_> = upstreams
            .iter()
            .map(|facts| facts.judge(&mut findings))
            .collect();
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

impl PoolFacts {
    fn judge(&self, findings: &mut Vec<Finding>) -> PoolHealth {
        let own = [self.lease(), self.locks(), self.requests()];
        let own: Vec<_> = own.into_iter().flatten().collect();
        let of_nodes = self.nodes.iter().filter_map(node);
        let of_nodes: Vec<_> = of_nodes.collect();
        let status = own.iter().chain(&of_nodes).map(|finding| finding.status);
        let status = status.max().unwrap_or(HealthStatus::Healthy);
        findings.extend(own);
        for finding in of_nodes {
            // Pools of the same group share its nodes.
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        let gauges = self.gauges.unwrap_or_default();
        PoolHealth {
            pool: self.pool.clone(),
            status,
            slots: gauges.slots,
            held: gauges.held,
            waiting: gauges.waiting,
            keys: gauges.keys,
            keys_cooling_down: gauges.keys_cooling_down,
            nodes: self.nodes.iter().map(|node| node.state.clone()).collect(),
            recent_requests: self.recent.all,
            recent_failed: self.recent.failed,
        }
    }

    fn finding(
        &self,
        status: HealthStatus,
        subject: Subject,
        message: String,
        advice: &str,
    ) -> Finding {
        Finding {
            status,
            subject,
            name: self.pool.clone(),
            message,
            advice: advice.to_owned(),
        }
    }

    /// A finding if the pool has no slots, or some of its keys are cooling down.
    fn lease(&self) -> Option<Finding> {
        let pool = &self.pool;
        let gauges = self.gauges.unwrap_or_default();
        if gauges.slots == 0 {
            return Some(self.finding(
                HealthStatus::Unhealthy,
                Subject::Pool,
                format!("Pool {pool} has no slots."),
                "Check the error log for messages about its keys and openai_zone.",
            ));
        }
        let (cooling, all) = (gauges.keys_cooling_down, gauges.keys);
        if cooling == 0 {
            return None;
        }
        if cooling == all && self.is_unusable {
            return Some(self.finding(
                HealthStatus::Unhealthy,
                Subject::Keys,
                format!("Every key of pool {pool} is invalid or out of quota."),
                "Replace the keys, or check their accounts at the provider.",
            ));
        }
        Some(self.finding(
            HealthStatus::Degraded,
            Subject::Keys,
            format!("{cooling} of {all} keys of pool {pool} cannot be used now."),
            "A key over its rate limit recovers by itself. Replace an invalid key. For a key out \
             of quota, check the account.",
        ))
    }

    /// A finding if too few nodes vote.
    fn locks(&self) -> Option<Finding> {
        let pool = &self.pool;
        let votes = |node: &&NodeStatus| matches!(node.state.as_str(), "up" | "suspect");
        let (voting, all) = (self.nodes.iter().filter(votes).count(), self.nodes.len());
        if voting >= self.needed {
            return None;
        }
        let needed = self.needed;
        let (status, so) = match self.falls_back {
            true => (
                HealthStatus::Degraded,
                "leases are exclusive on this machine only",
            ),
            false => (HealthStatus::Unhealthy, "no request gets a key"),
        };
        Some(self.finding(
            status,
            Subject::Pool,
            format!(
                "{voting} of {all} Redis nodes of pool {pool} can vote, {needed} are needed: {so}."
            ),
            "Start the Redis nodes that are down.",
        ))
    }

    /// A finding if too many requests failed.
    fn requests(&self) -> Option<Finding> {
        let Counts { all, failed } = self.recent;
        fails(self.recent).then(|| {
            self.finding(
                HealthStatus::Degraded,
                Subject::Pool,
                format!(
                    "{failed} of {all} requests of pool {} failed in the last minute.",
                    self.pool
                ),
                "The access log has the outcome of each.",
            )
        })
    }
}

fn node(node: &NodeStatus) -> Option<Finding> {
    let advice = match node.state.as_str() {
        "up" => return None,
        "suspect" => "The node is slow: check its load and the network.",
        "failing" => "The node answers commands with errors: check its memory, replicas and ACL.",
        "quarantined" => "The node may have lost locks. It votes again after its quarantine.",
        _ => "Check that the server runs and can be reached. The error log has the reason.",
    };
    let error = node.error.as_ref().map(|error| format!(" ({error})"));
    Some(Finding {
        status: HealthStatus::Degraded,
        subject: Subject::Node,
        name: node.node.clone(),
        message: format!(
            "Redis node {} is {}{}.",
            node.node,
            node.state,
            error.unwrap_or_default()
        ),
        advice: advice.to_owned(),
    })
}

impl UpstreamFacts {
    fn judge(&self, findings: &mut Vec<Finding>) -> UpstreamHealth {
        let (name, Counts { all, failed }) = (&self.upstream, self.circuit.recent);
        let text = format!("{failed} of {all} attempts failed in the last minute.");
        let message = match self.circuit.state {
            CircuitState::Open => Some(format!("The circuit of {name} is open: {text}")),
            CircuitState::HalfOpen => Some(format!(
                "The circuit of {name} is half open: the next requests are probes."
            )),
            CircuitState::Closed if fails(self.circuit.recent) => {
                Some(format!("Upstream {name} fails: {text}"))
            }
            CircuitState::Closed => None,
        };
        let status = match message {
            Some(_) => HealthStatus::Degraded,
            None => HealthStatus::Healthy,
        };
        findings.extend(message.map(|message| {
            Finding {
                status,
                subject: Subject::Upstream,
                name: name.clone(),
                message,
                advice:
                    "Check the error log and the provider's status page. The gateway probes the \
                     upstream by itself."
                        .to_owned(),
            }
        }));
        UpstreamHealth {
            upstream: name.clone(),
            status,
            circuit: self.circuit.state.as_str().to_owned(),
            recent_attempts: all,
            recent_failed: failed,
        }
    }
}

//! How well the gateway is, by what is known of its pools, nodes and upstreams.

use serde::Serialize;
use utoipa::ToSchema;

use super::response::{Health, HealthStatus, PoolHealth, UpstreamHealth};
use super::status::NodeStatus;
use crate::circuit::{Counts, Phase, Status};
use crate::lease::PoolGauges;

/// Nothing is concluded of fewer requests in the last minute.
const FEWEST: u32 = 5;

/// What is known of a pool.
#[derive(Clone, Debug, Default)]
pub struct PoolFacts {
    /// Its name.
    pub pool: String,
    /// What it holds; `None` when the zone does not know it.
    pub gauges: Option<PoolGauges>,
    /// Its keys, and those that are out.
    pub keys: u32,
    /// See `keys`.
    pub keys_out: u32,
    /// Whether they are out as they are revoked or out of quota, all of them.
    pub is_exhausted: bool,
    /// Its Redis nodes; none without any.
    pub nodes: Vec<NodeStatus>,
    /// How many of them have to vote.
    pub needed: usize,
    /// Whether leases do without, when too few vote.
    pub falls_back: bool,
    /// The requests of the last minute.
    pub recent: Counts,
}

/// What is known of an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamFacts {
    /// Its name.
    pub upstream: String,
    /// How its circuit stands.
    pub circuit: Status,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A key pool.
    Pool,
    /// API keys of a pool.
    Keys,
    /// A Redis node.
    Node,
    /// An upstream.
    Upstream,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// `degraded`, or `unhealthy` for a pool that cannot lease.
    #[schema(inline)]
    pub status: HealthStatus,
    /// What it is about.
    #[schema(inline)]
    pub subject: Subject,
    /// The name of the pool or upstream, or the address of the node.
    pub name: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub advice: String,
}

/// Whether most of enough requests failed.
fn fails(recent: Counts) -> bool {
    recent.all >= FEWEST && u64::from(recent.faulty) * 2 >= u64::from(recent.all)
}

impl Health {
    /// What the facts come to. The gateway is unhealthy when no pool can lease.
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
            // Pools that share a group share its nodes.
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
            keys: self.keys,
            keys_out: self.keys_out,
            nodes: self.nodes.iter().map(|node| node.state.clone()).collect(),
            recent_requests: self.recent.all,
            recent_failed: self.recent.faulty,
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

    /// Whether it has keys to lease.
    fn lease(&self) -> Option<Finding> {
        let pool = &self.pool;
        if self.gauges.is_none_or(|gauges| gauges.slots == 0) {
            return Some(self.finding(
                HealthStatus::Unhealthy,
                Subject::Pool,
                format!("Pool {pool} has no slots."),
                "See the error log for what nginx says of its keys and of openai_zone.",
            ));
        }
        let (out, all) = (self.keys_out, self.keys);
        if out == 0 {
            return None;
        }
        if out == all && self.is_exhausted {
            return Some(self.finding(
                HealthStatus::Unhealthy,
                Subject::Keys,
                format!("Every key of pool {pool} is revoked or out of quota."),
                "Replace the keys, or see to their accounts at the provider.",
            ));
        }
        Some(self.finding(
            HealthStatus::Degraded,
            Subject::Keys,
            format!("{out} of {all} keys of pool {pool} cannot be used now."),
            "Keys over their rate return by themselves. Replace those that are revoked; see to \
             the accounts of those out of quota.",
        ))
    }

    /// Whether enough nodes vote.
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
            "Bring the Redis nodes back.",
        ))
    }

    /// Whether its requests go well.
    fn requests(&self) -> Option<Finding> {
        let Counts { all, faulty } = self.recent;
        fails(self.recent).then(|| {
            self.finding(
                HealthStatus::Degraded,
                Subject::Pool,
                format!(
                    "{faulty} of {all} requests of pool {} failed in the last minute.",
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
        "suspect" => "It is slow: see to its load and to the network.",
        "failing" => "It answers commands with errors: see to its memory, replicas and ACL.",
        "quarantined" => "It may have forgotten locks. It votes again by itself.",
        _ => "See whether the server runs and can be reached. The error log has the reason.",
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
        let (name, Counts { all, faulty }) = (&self.upstream, self.circuit.recent);
        let failed = format!("{faulty} of {all} attempts failed in the last minute.");
        let message = match self.circuit.phase {
            Phase::Open => Some(format!("The circuit of {name} is open: {failed}")),
            Phase::HalfOpen => Some(format!(
                "The circuit of {name} is half open: the next request tries whether it works again."
            )),
            Phase::Closed if fails(self.circuit.recent) => {
                Some(format!("Upstream {name} fails: {failed}"))
            }
            Phase::Closed => None,
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
                advice: "See the error log, and the provider's status page. It is tried again by \
                     itself."
                    .to_owned(),
            }
        }));
        UpstreamHealth {
            upstream: name.clone(),
            status,
            circuit: self.circuit.phase.as_str().to_owned(),
            recent_attempts: all,
            recent_failed: faulty,
        }
    }
}

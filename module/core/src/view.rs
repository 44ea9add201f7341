//! The state of the gateway at one moment. Metrics, health and status are made of it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::circuit::{CircuitView, Counts};
use crate::lease::{KeyView, PoolGauges};

/// State of a pool.
#[derive(Clone, Debug, Default)]
pub struct PoolView {
    /// Name.
    pub name: String,
    /// Numbers of leases, waiting requests, slots and keys; zero when the zone does not contain
    /// the pool.
    pub gauges: PoolGauges,
    /// Its keys, by id.
    pub keys: Vec<(String, KeyView)>,
    /// The Redis nodes, if the pool has any.
    pub nodes: Vec<NodeStatus>,
    /// Number of nodes that must vote; 0 if the pool needs no nodes.
    pub needed: usize,
    /// Whether leases fall back to this machine when too few nodes vote.
    pub falls_back: bool,
    /// Requests of the last minute.
    pub recent: Counts,
}

impl PoolView {
    /// Number of nodes in one of these states.
    pub(crate) fn nodes_in(&self, states: &[&str]) -> usize {
        let nodes = self.nodes.iter();
        nodes.filter(|node| states.contains(&&*node.state)).count()
    }

    /// Whether all keys are invalid or out of quota, and not just over their rates.
    pub(crate) fn is_unusable(&self) -> bool {
        let is_unusable = |view: &KeyView| view.cause.is_some_and(|cause| !cause.is_passing());
        !self.keys.is_empty() && self.keys.iter().all(|(_, view)| is_unusable(view))
    }
}

/// State of a Redis node.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NodeStatus {
    /// Address.
    pub node: String,
    /// `up`, `suspect`, `failing`, `quarantined` or `down`.
    pub state: String,
    /// The error with which a `failing` node answers.
    #[schema(example = "OOM")]
    pub error: Option<String>,
    /// Round-trip time in microseconds.
    pub round_trip_us: Option<u64>,
}

/// State of an upstream that has a circuit.
#[derive(Clone, Debug)]
pub struct UpstreamView {
    /// Name.
    pub name: String,
    /// State and counts of its circuit.
    pub circuit: CircuitView,
}

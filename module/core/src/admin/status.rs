//! The data that the status page polls.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::health::Finding;
use super::response::{ActiveLock, HealthStatus};
use crate::view::NodeStatus;

/// Current state of the gateway.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GatewayStatus {
    /// Health, as in `/health`.
    #[schema(inline)]
    pub status: HealthStatus,
    /// Problems, as in `/health`.
    pub findings: Vec<Finding>,
    /// Version of the module.
    pub version: String,
    /// Version of nginx.
    pub nginx: String,
    /// Age of the shared memory in seconds; reloads do not reset it.
    pub uptime_seconds: u64,
    /// The key pools.
    pub pools: Vec<PoolStatus>,
    /// The slots held on this machine, by pool, key and number.
    pub locks: Vec<ActiveLock>,
    /// The circuits of upstreams.
    pub circuits: Vec<CircuitStatus>,
    /// Metrics by service.
    pub services: Vec<ServiceMetrics>,
    /// Current time.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// State of a key pool.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PoolStatus {
    /// Name of the pool.
    pub pool: String,
    /// Scope of the slots' exclusivity: `shm` on this machine, `redlock` on several machines.
    pub backend: &'static str,
    /// Health of the pool as a whole.
    #[schema(inline)]
    pub status: HealthStatus,
    /// Number of slots.
    pub slots: u32,
    /// Number of held slots.
    pub held: u32,
    /// Number of waiting requests.
    pub waiting: u32,
    /// Waiting requests by client and priority.
    pub waiters: Vec<Waiters>,
    /// Its API keys.
    pub keys: Vec<KeyStatus>,
    /// Requests in the last minute.
    pub recent_requests: u32,
    /// Failed requests in the last minute, without failures caused by clients.
    pub recent_failed: u32,
    /// States of its Redis nodes, as observed by the worker that answers; empty without nodes.
    pub nodes: Vec<NodeStatus>,
}

/// Waiting requests of a client.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Waiters {
    /// Name of the client; null if unknown.
    pub client: Option<String>,
    /// Priority; requests with a higher priority are served first.
    pub priority: i32,
    /// Number of requests.
    pub count: u32,
}

/// State of an API key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyStatus {
    /// Id of the key.
    pub key_id: String,
    /// `active`, `cooling_down` or `probation`.
    pub state: &'static str,
    /// Cause of the cool-down: `configured_limit`, `provider_limit`, `rate_limited`,
    /// `quota_exceeded` or `invalid_key`. Null in other states.
    pub cause: Option<&'static str>,
    /// When the cool-down ends. Null in other states.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// Number of leases.
    pub in_flight: u32,
    /// Number of slots.
    pub slots: u32,
    /// Maximum number of leases in the current state.
    pub may_have: u32,
    /// Requests that remain of the provider's limit; null if unknown.
    pub requests_left: Option<i64>,
    /// Tokens that remain of the provider's limit; null if unknown.
    pub tokens_left: Option<i64>,
    /// Status of the last unsuccessful response; null before the first.
    pub last_error: Option<u16>,
    /// Consecutive failures.
    pub failures: u32,
    /// Attempts with the key, by verdict, since nginx started.
    pub attempts: BTreeMap<&'static str, u32>,
}

/// State of the circuit of an upstream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CircuitStatus {
    /// Name of the upstream.
    pub upstream: String,
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// Attempts in the window of the circuit, without repeated failures of the same request.
    pub attempts: u32,
    /// Failed attempts in the window of the circuit, without repeated failures of the same request.
    pub failures: u32,
    /// Attempts in the last minute.
    pub recent_attempts: u32,
    /// Failed attempts in the last minute.
    pub recent_failed: u32,
    /// Number of times that the circuit has opened since it was last closed.
    pub trips: u32,
    /// When probes may begin; null unless the circuit is open.
    #[schema(format = DateTime)]
    pub until: Option<String>,
}

/// Metrics of a service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ServiceMetrics {
    /// Name of the client; empty for requests without a client.
    pub service: String,
    /// Requests by outcome.
    pub requests: BTreeMap<&'static str, u64>,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Completion tokens.
    pub completion_tokens: u64,
    /// Cost in dollars, for models with a price.
    pub cost_dollars: f64,
    /// Requests that used tokens of a model without a price.
    pub unpriced_requests: u64,
    /// Retries.
    pub retries: u64,
}

//! What an operator looks at: the page at `/status`, and the call that it asks again and
//! again.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::health::Finding;
use super::response::{ActiveLock, HealthStatus};

const PAGE: &str = include_str!("status/page.html");
const STYLE: &str = include_str!("status/page.css");
const SCRIPT: &str = include_str!("status/page.js");

/// The page, HTML. It tells nothing by itself: its script asks for `/v1/status`.
#[must_use]
pub fn status_page() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| PAGE.replace("{style}", STYLE).replace("{script}", SCRIPT))
}

/// Its `Content-Security-Policy`: its own style and script run, by their hashes, and what
/// it loads is of its own origin.
#[must_use]
pub fn status_policy() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| {
        let hash = |text| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
        let (style, script) = (hash(STYLE), hash(SCRIPT));
        format!(
            "default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    })
}

/// How the gateway does at the moment.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GatewayStatus {
    /// As `/health` says.
    #[schema(inline)]
    pub status: HealthStatus,
    /// What is not as it should be, as `/health` says.
    pub findings: Vec<Finding>,
    /// Of the module.
    pub version: String,
    /// Of nginx.
    pub nginx: String,
    /// How long its shared memory has been there, in seconds.
    pub uptime_seconds: u64,
    /// The key pools.
    pub pools: Vec<PoolStatus>,
    /// The slots that are held on this machine, by pool, key and slot.
    pub locks: Vec<ActiveLock>,
    /// The circuits of upstreams.
    pub circuits: Vec<CircuitStatus>,
    /// What has been counted in all, by service.
    pub services: Vec<ServiceTotals>,
    /// Now.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// How a key pool does.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PoolStatus {
    /// Its name.
    pub pool: String,
    /// Where its slots are exclusive: `shm` on this machine, `redlock` on several.
    pub backend: String,
    /// As a whole.
    #[schema(inline)]
    pub status: HealthStatus,
    /// Its slots.
    pub slots: u32,
    /// Those that are held.
    pub held: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Who they are of.
    pub waiters: Vec<Waiters>,
    /// Its API keys.
    pub keys: Vec<KeyStatus>,
    /// Its requests in the last minute.
    pub recent_requests: u32,
    /// Those of them that failed, by no fault of their clients.
    pub recent_failed: u32,
    /// Its Redis nodes, as the worker sees them that answers; empty without any.
    pub nodes: Vec<NodeStatus>,
}

/// Requests that wait for a slot.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Waiters {
    /// The client, if it is known.
    pub client: Option<String>,
    /// Higher is served sooner.
    pub priority: i32,
    /// How many.
    pub count: u32,
}

/// How an API key does.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyStatus {
    /// Its name.
    pub key_id: String,
    /// `in`, `trial` or `out`.
    pub state: String,
    /// Why it is out, if it is: `stated`, `limit`, `rate`, `quota`, `revoked`.
    pub cause: Option<String>,
    /// Until when.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// Leases on it.
    pub in_flight: u32,
    /// Its slots.
    pub slots: u32,
    /// How many leases it may have now.
    pub may_have: u32,
    /// Requests that the provider has left for it, as far as is known.
    pub requests_left: Option<i64>,
    /// Tokens that the provider has left for it, as far as is known.
    pub tokens_left: Option<i64>,
    /// The status of its last answer that was not good.
    pub last_error: Option<u16>,
    /// How often in a row an answer has put it out.
    pub failures: u32,
    /// What came of the attempts that were sent with it, by verdict.
    pub attempts: BTreeMap<String, u32>,
}

/// How a Redis node does.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NodeStatus {
    /// Its address.
    pub node: String,
    /// `up`, or what is wrong.
    pub state: String,
    /// By which error a node that is `failing` answers.
    #[schema(example = "OOM")]
    pub error: Option<String>,
    /// The time of a round trip, in microseconds.
    pub round_trip_us: Option<u64>,
}

/// How the circuit of an upstream stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CircuitStatus {
    /// The upstream.
    pub upstream: String,
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// Attempts in its window.
    pub attempts: u32,
    /// Those that failed.
    pub failures: u32,
    /// Attempts in the last minute.
    pub recent_attempts: u32,
    /// Those that failed.
    pub recent_failed: u32,
    /// How often in a row it has opened.
    pub trips: u32,
    /// Until when it is open, if it is.
    #[schema(format = DateTime)]
    pub until: Option<String>,
}

/// What has been counted for a service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ServiceTotals {
    /// Its name; empty for requests without a client.
    pub service: String,
    /// Requests by outcome.
    pub requests: BTreeMap<String, u64>,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of completions.
    pub completion_tokens: u64,
    /// Dollars, as far as models have prices.
    pub cost_dollars: f64,
    /// Requests that used tokens of a model without a price.
    pub unpriced_requests: u64,
    /// Times that requests were sent again.
    pub retries: u64,
}

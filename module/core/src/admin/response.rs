//! Response bodies.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::health::Finding;

/// State of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LockStatus {
    /// Held.
    Acquired,
    /// Held, and extended.
    Extended,
    /// Released by its owner.
    Released,
    /// Expired.
    Expired,
    /// Released by an administrator.
    ForceReleased,
    /// Lost to another holder.
    Lost,
}

/// A lock, as its owner sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LockInfo {
    /// Id of the lock.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    pub lock_id: String,
    /// The API key; null if the gateway does not disclose it (`openai_lock_key`), and in the
    /// response to `extend` while the key is cooling down.
    #[schema(example = "sk-...")]
    pub api_key: Option<String>,
    /// Id of the API key.
    pub key_id: String,
    /// Number of the locked slot of the key.
    pub slot: u32,
    /// The key pool.
    pub pool: String,
    /// Fencing token: increases with every lock on the slot.
    pub fence: u64,
    /// When the lock was acquired.
    #[schema(format = DateTime, example = "2024-07-28T10:00:00Z")]
    pub acquired_at: String,
    /// When the lock expires unless it is extended.
    #[schema(format = DateTime, example = "2024-07-28T10:05:00Z")]
    pub expires_at: String,
    /// Identifier of the request, as stated by the service or generated.
    pub request_id: String,
    /// `acquired`, or `extended`.
    #[schema(inline)]
    pub status: LockStatus,
}

/// Response to `acquire` and `extend`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AcquireResponse {
    /// Always true.
    pub success: bool,
    /// The lock.
    pub lock_info: LockInfo,
    /// Current time.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// Response to `release`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReleaseResponse {
    /// Always true: the lock is no longer held.
    pub success: bool,
    /// Id of the lock.
    pub lock_id: String,
    /// `released`, by this call or an earlier one; otherwise how the lock had ended before.
    #[schema(inline)]
    pub status: LockStatus,
    /// Id of the API key.
    pub key_id: Option<String>,
    /// Number of the slot.
    pub slot: u32,
    /// How long the lock was held, in milliseconds.
    pub held_ms: u64,
    /// Current time.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// Kind of holder of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LockKind {
    /// A lock of a service.
    Lock,
    /// A request through the gateway.
    Request,
}

/// A held slot.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActiveLock {
    /// Id of the lock or of the request's lease.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    pub lock_id: String,
    /// Kind of holder.
    #[schema(inline)]
    pub kind: LockKind,
    /// Name of the service, as stated by the client; for a request, name of the client.
    pub service_name: Option<String>,
    /// Name of the client to which the token belongs.
    pub client: Option<String>,
    /// Identifier of the request, as stated by the service or generated; null for a request through
    /// the gateway.
    pub request_id: Option<String>,
    /// The key pool.
    pub pool: String,
    /// Id of the API key; null when it is no longer configured.
    pub key_id: Option<String>,
    /// Number of the slot of the key.
    pub slot: u32,
    /// Fencing token: increases with every lease on the slot.
    pub fence: u64,
    /// When the slot was acquired.
    #[schema(format = DateTime)]
    pub acquired_at: String,
    /// When the lock or lease expires. The lease of a request is renewed before that time.
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// Context stated by the service.
    pub context: BTreeMap<String, String>,
    /// Whether the context was shortened.
    pub context_truncated: bool,
}

/// The slots held on this machine.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActiveLocks {
    /// Number of slots.
    pub count: usize,
    /// The slots, ordered by pool, key and number.
    pub locks: Vec<ActiveLock>,
    /// Current time.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// Response to `force-release`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ForceReleaseResponse {
    /// Always true: the lock is no longer held.
    pub success: bool,
    /// Whether this call has ended the lock.
    pub released: bool,
    /// `force_released`, or how the lock had ended before.
    #[schema(inline)]
    pub status: LockStatus,
    /// The lock.
    pub lock: ActiveLock,
    /// Current time.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// Response to `cleanup-expired`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CleanupResponse {
    /// Always true.
    pub success: bool,
    /// Number of expired locks whose records were removed.
    pub cleaned: usize,
    /// Ids of these locks.
    pub lock_ids: Vec<String>,
    /// Current time.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// Health of the gateway or of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// No problems.
    Healthy,
    /// Works, but has problems.
    Degraded,
    /// Does not work.
    Unhealthy,
}

/// Name, version and paths of the gateway.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Index {
    /// `nginx-openai`.
    pub name: &'static str,
    /// Version of the module.
    pub version: &'static str,
    /// Paths of the API, by name.
    pub links: BTreeMap<&'static str, &'static str>,
}

impl Default for Index {
    /// The index of this version of the module.
    fn default() -> Self {
        let links = [
            ("docs", "/docs"),
            ("health", "/health"),
            ("locks", "/v1/locks/active"),
            ("metrics", "/metrics"),
            ("openapi", "/openapi.json"),
            ("redoc", "/redoc"),
            ("stats", "/v1/stats"),
            ("status", "/status"),
            ("system_info", "/system/info"),
        ];
        Self {
            name: "nginx-openai",
            version: env!("CARGO_PKG_VERSION"),
            links: links.into(),
        }
    }
}

/// Health of the gateway. The status code is 503 when `status` is `unhealthy`, otherwise 200.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// `unhealthy` when no pool can lease keys, `degraded` when there are findings.
    #[schema(inline)]
    pub status: HealthStatus,
    /// Version of the module.
    pub version: String,
    /// Problems.
    pub findings: Vec<Finding>,
    /// The key pools.
    pub pools: Vec<PoolHealth>,
    /// The upstreams of these pools that have a circuit.
    pub upstreams: Vec<UpstreamHealth>,
    /// Current time.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// Health of a key pool.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PoolHealth {
    /// Name of the pool.
    pub pool: String,
    /// Health of the pool as a whole.
    #[schema(inline)]
    pub status: HealthStatus,
    /// Number of slots.
    pub slots: u32,
    /// Number of held slots.
    pub held: u32,
    /// Number of waiting requests.
    pub waiting: u32,
    /// Number of API keys.
    pub keys: u32,
    /// Number of keys that are cooling down.
    pub keys_cooling_down: u32,
    /// States of its Redis nodes, in the order of the configuration; empty without nodes.
    pub nodes: Vec<String>,
    /// Requests in the last minute.
    pub recent_requests: u32,
    /// Failed requests in the last minute, without failures caused by clients.
    pub recent_failed: u32,
}

/// Health of an upstream.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UpstreamHealth {
    /// Name of the upstream.
    pub upstream: String,
    /// `degraded` when its circuit is not closed, or when there were at least five attempts in the
    /// last minute and at least half of them failed.
    #[schema(inline)]
    pub status: HealthStatus,
    /// State of its circuit: `closed`, `open` or `half_open`.
    pub circuit: String,
    /// Attempts in the last minute.
    pub recent_attempts: u32,
    /// Failed attempts in the last minute.
    pub recent_failed: u32,
}

/// Information about the gateway.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SystemInfo {
    /// Version of the module.
    pub version: String,
    /// Version of nginx.
    pub nginx: String,
    /// Age of the shared memory in seconds; reloads do not reset it.
    pub uptime_seconds: u64,
    /// The key pools.
    pub pools: Vec<PoolInfo>,
    /// Current time.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// A key pool.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PoolInfo {
    /// Name of the pool.
    pub pool: String,
    /// Scope of the slots' exclusivity: `shm` on this machine, `redlock` on several machines.
    pub backend: &'static str,
    /// Ids of the API keys.
    pub keys: Vec<String>,
    /// Number of slots.
    pub slots: u32,
    /// Number of held slots.
    pub held: u32,
    /// Number of waiting requests.
    pub waiting: u32,
}

//! Bodies that services get.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::health::Finding;

/// What a lock is, or what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LockStatus {
    /// It is held.
    Acquired,
    /// It is held, and lasts longer than before.
    Extended,
    /// It has been given back.
    Released,
    /// Its time was over.
    Expired,
    /// An administrator ended it.
    ForceReleased,
    /// Another has it.
    Lost,
}

/// A lock, as its owner sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LockInfo {
    /// Its name.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    pub lock_id: String,
    /// The API key; null where the gateway keeps it to itself (`openai_lock_key`), and in
    /// the answer to `extend` while the key is cooling down.
    #[schema(example = "sk-...")]
    pub api_key: Option<String>,
    /// The name of the API key.
    pub key_id: String,
    /// Which of the key's slots is locked.
    pub slot: u32,
    /// The key pool.
    pub pool: String,
    /// Rises with every lock of the slot.
    pub fence: u64,
    /// Since when.
    #[schema(format = DateTime, example = "2024-07-28T10:00:00Z")]
    pub acquired_at: String,
    /// Until when, unless it is prolonged.
    #[schema(format = DateTime, example = "2024-07-28T10:05:00Z")]
    pub expires_at: String,
    /// The service's name for the request.
    pub request_id: String,
    /// `acquired`, or `extended`.
    #[schema(inline)]
    pub status: LockStatus,
}

/// A lock has been taken, or prolonged.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AcquireResponse {
    /// True.
    pub success: bool,
    /// The lock.
    pub lock_info: LockInfo,
    /// Now.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// A lock is not held any more.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReleaseResponse {
    /// True: it is not held any more.
    pub success: bool,
    /// Which.
    pub lock_id: String,
    /// What became of it: `released`, by this call or an earlier one, or why it had ended
    /// before.
    #[schema(inline)]
    pub status: LockStatus,
    /// The name of the API key.
    pub key_id: Option<String>,
    /// Which of its slots.
    pub slot: u32,
    /// For how long it was held, in milliseconds.
    pub held_ms: u64,
    /// Now.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// Who holds a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LockKind {
    /// A service, by a lock.
    Lock,
    /// A request that passes through the gateway.
    Request,
}

/// A slot that is held.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActiveLock {
    /// The name of the lock, or of the request's lease.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    pub lock_id: String,
    /// By what it is held.
    #[schema(inline)]
    pub kind: LockKind,
    /// The service, by its own word; of a request the client.
    pub service_name: Option<String>,
    /// The client, by its token.
    pub client: Option<String>,
    /// The service's name for the request.
    pub request_id: Option<String>,
    /// The key pool.
    pub pool: String,
    /// The name of the API key; null when the configuration has it no more.
    pub key_id: Option<String>,
    /// Which of the key's slots.
    pub slot: u32,
    /// Rises with every lease of the slot.
    pub fence: u64,
    /// Since when.
    #[schema(format = DateTime)]
    pub acquired_at: String,
    /// Until when. A request's lease is renewed before that.
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// What the service has said of it.
    pub context: BTreeMap<String, String>,
    /// Whether it had said more.
    pub context_truncated: bool,
}

/// All slots that are held on this machine.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActiveLocks {
    /// How many.
    pub count: usize,
    /// By pool, key and slot.
    pub locks: Vec<ActiveLock>,
    /// Now.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// A lock has been ended by an administrator.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ForceReleaseResponse {
    /// True: it is not held any more.
    pub success: bool,
    /// Whether this call has ended it.
    pub released: bool,
    /// `force_released`, or why it had ended before.
    #[schema(inline)]
    pub status: LockStatus,
    /// What it was.
    pub lock: ActiveLock,
    /// Now.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// What has ended is forgotten.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CleanupResponse {
    /// True.
    pub success: bool,
    /// How many locks had expired, and have been forgotten.
    pub cleaned: usize,
    /// Which.
    pub lock_ids: Vec<String>,
    /// Now.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// All is well.
    Healthy,
    /// It works, with less to spare.
    Degraded,
    /// It does not work.
    Unhealthy,
}

/// What is served here.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Index {
    /// `nginx-openai`.
    pub name: &'static str,
    /// Of the module.
    pub version: &'static str,
    /// Paths by what they are.
    pub links: BTreeMap<&'static str, &'static str>,
}

impl Index {
    /// That of this version.
    #[must_use]
    pub fn new() -> Self {
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

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

/// How well the gateway is. A load balancer may go by the status of the answer: it is 503
/// when `status` is `unhealthy`, else 200.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// `unhealthy` when no pool can lease a key, `degraded` when there are findings.
    #[schema(inline)]
    pub status: HealthStatus,
    /// Of the module.
    pub version: String,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// The key pools.
    pub pools: Vec<PoolHealth>,
    /// The upstreams with a circuit that requests of these pools go to.
    pub upstreams: Vec<UpstreamHealth>,
    /// Now.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// How well a key pool is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PoolHealth {
    /// Its name.
    pub pool: String,
    /// As a whole.
    #[schema(inline)]
    pub status: HealthStatus,
    /// Its slots.
    pub slots: u32,
    /// Those that are held.
    pub held: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Its API keys.
    pub keys: u32,
    /// Those that are out: over their limits, out of quota, or revoked.
    pub keys_out: u32,
    /// How its Redis nodes do, in their order; empty without any.
    pub nodes: Vec<String>,
    /// Its requests in the last minute.
    pub recent_requests: u32,
    /// Those of them that failed, by no fault of their clients.
    pub recent_failed: u32,
}

/// How well an upstream is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UpstreamHealth {
    /// Its name.
    pub upstream: String,
    /// `degraded` when its circuit is not closed, or half of five or more attempts failed.
    #[schema(inline)]
    pub status: HealthStatus,
    /// How its circuit stands: `closed`, `open` or `half_open`.
    pub circuit: String,
    /// Attempts in the last minute.
    pub recent_attempts: u32,
    /// Those of them that failed.
    pub recent_failed: u32,
}

/// What this gateway is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SystemInfo {
    /// Of the module.
    pub version: String,
    /// Of nginx.
    pub nginx: String,
    /// How long its shared memory has been there, in seconds: reloads do not count.
    pub uptime_seconds: u64,
    /// The key pools.
    pub pools: Vec<PoolInfo>,
    /// Now.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// A key pool.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PoolInfo {
    /// Its name.
    pub pool: String,
    /// Where its slots are exclusive: `shm` on this machine, `redlock` on several.
    pub backend: String,
    /// The names of its API keys.
    pub keys: Vec<String>,
    /// Its slots.
    pub slots: u32,
    /// Those that are held.
    pub held: u32,
    /// Requests that wait.
    pub waiting: u32,
}

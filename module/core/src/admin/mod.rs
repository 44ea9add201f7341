//! The HTTP API of the gateway: its paths, its bodies, and their OpenAPI document.
//!
//! This module parses requests and builds responses. The nginx module executes the requests.

mod context;
mod document;
mod health;
mod openai;
mod page;
mod parse;
mod problem;
mod request;
mod response;
mod route;
mod stats;
mod status;
#[cfg(test)]
mod tests;
mod time;

pub use context::LockContext;
pub use document::document;
pub use health::{Finding, Subject};
pub use page::{DOCS_PAGE, Page, STATUS_PAGE, docs_file};
pub use problem::Problem;
pub use request::{Acquire, Extend, MAX_BODY, Release, ReportedUsage};
pub use response::{
    AcquireResponse, ActiveLock, ActiveLocks, CleanupResponse, ForceReleaseResponse, Health,
    HealthStatus, Index, LockInfo, LockKind, LockStatus, PoolHealth, PoolInfo, ReleaseResponse,
    SystemInfo, UpstreamHealth,
};
pub use route::{Access, ApiRoute, route};
pub use stats::{RECENT_DAYS, Stats, StatsQuery};
pub use status::{CircuitStatus, GatewayStatus, KeyStatus, PoolStatus, ServiceMetrics, Waiters};

/// Formats the id of a lock: 32 hexadecimal digits.
#[must_use]
pub fn lock_id(id: u128) -> String {
    format!("{id:032x}")
}

/// Parses the id of a lock; `None` unless it consists of 32 lower-case hexadecimal digits.
#[must_use]
pub fn parse_lock_id(text: &str) -> Option<u128> {
    let plain = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

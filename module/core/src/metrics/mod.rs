//! Metrics of the gateway in a shared memory zone, and their text for Prometheus.
//!
//! There are four tables of rows, by service, model, pool and key. Every request adds to one row
//! of each, so the sums over all services, models, pools and keys are equal. A table has a fixed
//! size; further names are counted in its row `other`, so that clients cannot make it grow.
//!
//! [`DailyStats`](daily::DailyStats) stores sums per day, as far as there is room.
//!
//! The holder of the zone's mutex opens a [`MetricsZone`] over the bytes. Adding a request is
//! atomic: changed words are recorded in an undo log, and [`MetricsZone::recover`] restores them
//! when a process died in between.

mod daily;
mod day;
mod exposition;
mod histogram;
mod http;
mod live;
mod named_counts;
mod recent;
mod record;
mod report;
mod row;
mod shared;
mod snapshot;
mod stats;
#[cfg(test)]
mod tests;
mod text;
mod undo_log;
mod zone;

pub use daily::{KEPT_DAYS, QuotaReached, QuotaUsage};
pub use day::Day;
pub use exposition::CONTENT_TYPE;
pub use http::{Endpoint, Http};
pub use live::{ACTIVE_SECONDS, Live, LiveCircuit, LiveKey, LivePool, LiveQuota};
pub use record::{OUTCOMES, Outcome, PoolRequest, Record};
pub use report::UsageReport;
pub use row::{Counters, hash};
pub use shared::SharedNames;
pub use snapshot::{ByDay, Snapshot, SnapshotError, SnapshotIdentity, SnapshotOwner, UsedRows};
pub use stats::{StatsRow, StatsSums};
pub use text::render;
pub use zone::{MetricsCopy, MetricsZone, MetricsZoneError};

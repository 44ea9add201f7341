//! Metrics of the gateway in a shared memory zone, and their text for Prometheus.
//!
//! There are four tables of rows, by service, model, pool and key. Every request adds to one row
//! of each, so the sums over all services, models, pools and keys are equal. A table has a fixed
//! size; further names are counted in its row `other`, so that clients cannot make it grow.
//!
//! [`DailyStats`](daily::DailyStats) stores sums per day, as far as there is room.
//!
//! The holder of the zone's mutex opens a [`MetricsZone`] over the bytes. If it dies while it adds
//! a request, some sums contain that request and others do not. A row is found only once its name
//! is complete. [`MetricsZone::recover`] recomputes what follows from the rows.

mod daily;
mod day;
mod end;
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
mod words;
mod zone;

pub use daily::{KEPT_DAYS, QuotaReached, QuotaUsage};
pub use day::Day;
pub use end::{CLIENT_LEFT, RequestEnd};
pub use exposition::CONTENT_TYPE;
pub use http::{Endpoint, Http};
pub use live::{ACTIVE_SECONDS, Live, LiveQuota};
pub use record::{OUTCOMES, Outcome, PoolRequest, Record};
pub use report::UsageReport;
pub use row::{Counters, OTHER, hash};
pub use shared::SharedNames;
pub use snapshot::{ByDay, Snapshot, SnapshotError, SnapshotIdentity, SnapshotOwner, UsedRows};
pub use stats::{StatsRow, StatsSums};
pub use text::render;
pub use zone::{MAX_SERVICES, MetricsCopy, MetricsZone, MetricsZoneError};

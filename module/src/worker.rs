//! A worker process: starts and stops what it consists of, in order.

use nginx_safe::{ConfResult, Cycle, Level};
use serde_json::json;

use crate::config::Main;
use crate::pool::{self, key_files, locks, probes};
use crate::telemetry::{event, snapshot};

/// Enters the worker into the zone.
pub fn start(main: &Main, cycle: Cycle) -> ConfResult {
    if nginx_safe::serves_requests() && pool::enter(main, cycle) == Some(false) {
        let fields = json!({ "reason": "too many workers at once" });
        event(Level::Alert, "worker_refused", fields);
    }
    Ok(())
}

/// Ends the worker's part; what it still holds is free at once.
pub fn stop() {
    snapshot::stop();
    key_files::stop();
    locks::stop();
    probes::stop();
    pool::leave_zone();
}

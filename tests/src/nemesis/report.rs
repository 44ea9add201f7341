//! What comes of a run.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

/// What came of a scenario.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Its name.
    pub scenario: String,
    /// What its schedule was made from.
    pub seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// Faults by their kinds.
    pub faults: BTreeMap<String, usize>,
    /// Requests that reached the upstream: each had a lease.
    pub grants: u64,
    /// The most requests of one key and slot that were ever in flight at once, those of a worker
    /// aside that stood still for longer than its leases live.
    pub highest: u64,
    /// Requests of such workers whose key was used by others meanwhile.
    pub stale: usize,
    /// How long after it went on such a request was gone, at most; in ms.
    pub cut_off_ms: u128,
    /// Leases that were lost.
    pub lost: usize,
    /// Keys that could not be leased again within one TTL after the end.
    pub stuck: usize,
    /// How long it took until all could, in ms.
    pub free_ms: u128,
    /// How long it took until all nodes voted again after a round, at most; in ms.
    pub heal_ms: u128,
    /// The wait for a lease that 99 % of the requests did not exceed, in ms.
    pub wait_p99_ms: u64,
    /// Requests by what became of them.
    pub requests: BTreeMap<String, usize>,
    /// The longest time for which the machine kept nginx or Redis from running, in ms.
    pub stall_ms: u128,
    /// What must not be.
    pub violations: Vec<String>,
}

impl Report {
    /// One line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts")
    }
}

/// The reports, one below the other.
pub fn table(reports: &[Report]) -> String {
    let mut table = format!(
        "{:<12} {:>7} {:>7} {:>4} {:>6} {:>8} {:>5} {:>5} {:>7} {:>7} {:>8} {:>7}  requests that failed\n",
        "scenario",
        "faults",
        "grants",
        "max",
        "stale",
        "cut off",
        "lost",
        "stuck",
        "free",
        "heal",
        "p99 wait",
        "stall"
    );
    for report in reports {
        let failed: Vec<_> = report
            .requests
            .iter()
            .filter(|(cause, _)| !["complete", "left"].contains(&cause.as_str()))
            .map(|(cause, count)| format!("{cause}: {count}"))
            .collect();
        let _ = writeln!(
            table,
            "{:<12} {:>7} {:>7} {:>4} {:>6} {:>5} ms {:>5} {:>5} {:>4} ms {:>4} ms {:>5} ms {:>4} ms  {}",
            report.scenario,
            report.faults.values().sum::<usize>(),
            report.grants,
            report.highest,
            report.stale,
            report.cut_off_ms,
            report.lost,
            report.stuck,
            report.free_ms,
            report.heal_ms,
            report.wait_p99_ms,
            report.stall_ms,
            if failed.is_empty() {
                "none".to_owned()
            } else {
                failed.join(", ")
            },
        );
        for violation in &report.violations {
            let _ = writeln!(table, "  VIOLATION: {violation}");
        }
    }
    table
}

//! Requests of the last minute, by pool.

use super::record::Outcome;
use super::zone::{MetricsTable, MetricsZone};
use crate::window::Counts;

/// Length of the window.
const RECENT_MS: u32 = 60_000;

impl MetricsZone<'_> {
    /// Counts a request in the window of its pool's row.
    pub(super) fn note_recent(&mut self, row: usize, outcome: Outcome, ended_ms: u64) {
        let at = row - self.range(MetricsTable::Pools).start;
        if let Some(window) = self.recent.get_mut(at) {
            window.note(outcome.is_failure(), RECENT_MS, ended_ms);
        }
    }

    /// Requests of a pool in the last minute, and how many failed.
    #[must_use]
    pub fn recent(&self, pool: &str, now_ms: u64) -> Counts {
        let row = self.known(MetricsTable::Pools, pool);
        let window = row.and_then(|at| self.recent.get(at - self.range(MetricsTable::Pools).start));
        window.map_or_else(Counts::default, |window| window.counts(RECENT_MS, now_ms))
    }
}

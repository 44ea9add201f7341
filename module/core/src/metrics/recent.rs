//! The requests of the last minute, by pool.

use super::board::{Board, Table};
use super::record::Outcome;
use crate::window::Counts;

/// How far back they go.
const RECENT_MS: u32 = 60_000;

impl Board<'_> {
    /// Notes how a request ended, for the row of its pool.
    pub(super) fn note_recent(&mut self, row: usize, outcome: Outcome, ended_ms: u64) {
        let at = row - self.range(Table::Pools).start;
        if let Some(window) = self.recent.get_mut(at) {
            window.note(outcome.is_failure(), RECENT_MS, ended_ms);
        }
    }

    /// The requests of a pool in the last minute, and those of them that failed.
    #[must_use]
    pub fn recent(&self, pool: &str, now_ms: u64) -> Counts {
        let row = self.known(Table::Pools, pool);
        let window = row.and_then(|at| self.recent.get(at - self.range(Table::Pools).start));
        window.map_or_else(Counts::default, |window| window.counts(RECENT_MS, now_ms))
    }
}

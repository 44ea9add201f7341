//! Who is seen.

use super::board::{Board, Table};

impl Board<'_> {
    /// Notes that a request of a service has ended, in seconds since 1970.
    pub fn see(&mut self, service: &str, at_s: u64) {
        let row = self.claim(Table::Services, service);
        self.seen[row] = at_s;
    }

    /// How many services have been seen since a moment.
    #[must_use]
    pub fn seen_since(&self, at_s: u64) -> usize {
        self.seen.iter().filter(|&&seen| seen >= at_s).count()
    }
}

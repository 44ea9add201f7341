//! Sharing of stats between machines: rows by day.

use core::mem::offset_of;
use std::collections::HashSet;

use super::daily::KEPT_DAYS;
use super::day::Day;
use super::record::OUTCOMES;
use super::row::{Counters, OTHER};
use super::snapshot::Snapshot;
use super::words::{words, words_mut};
use super::zone::{MetricsTable, MetricsZone, TABLES};
use crate::redlock::share::{RowId, RowSums};

/// The first counters in the format for other machines. The outcomes follow, since more of them
/// may be added.
const PLAIN: [usize; 11] = [
    offset_of!(Counters, attempts),
    offset_of!(Counters, prompt),
    offset_of!(Counters, completion),
    offset_of!(Counters, cached),
    offset_of!(Counters, reasoning),
    offset_of!(Counters, estimated),
    offset_of!(Counters, cost),
    offset_of!(Counters, unpriced),
    offset_of!(Counters, wait_ms),
    offset_of!(Counters, hold_ms),
    offset_of!(Counters, retries),
];
/// Index of the sum of failed locks: behind the outcomes, and behind those still to be added.
const FAILED_LOCKS: usize = 32;
const _: () = assert!(PLAIN.len() + OUTCOMES.len() <= FAILED_LOCKS);

/// Prefixes of row names, by table.
const LETTERS: [&str; TABLES.len()] = ["s", "m", "p", "k"];

/// Name of a row between machines.
pub(super) fn shared_name(table: MetricsTable, name: &str) -> String {
    [LETTERS[table as usize], ":", name].concat()
}

impl Counters {
    /// The format for other machines. There is room behind the outcomes, since more of them may
    /// be added.
    #[must_use]
    pub fn to_sums(&self) -> RowSums {
        let words = words(self);
        let mut sums = [0; FAILED_LOCKS + 1];
        for (at, offset) in PLAIN.into_iter().enumerate() {
            sums[at] = words[offset / size_of::<u64>()];
        }
        sums[PLAIN.len()..][..OUTCOMES.len()].copy_from_slice(&self.requests);
        sums[FAILED_LOCKS] = self.failed_locks;
        RowSums::new(&sums)
    }

    /// Parses the format of other machines.
    #[must_use]
    pub fn from_sums(sums: &RowSums) -> Self {
        let mut counters = Self::default();
        let words = words_mut(&mut counters);
        for (at, offset) in PLAIN.into_iter().enumerate() {
            words[offset / size_of::<u64>()] = sums.get(at);
        }
        for (at, count) in counters.requests.iter_mut().enumerate() {
            *count = sums.get(PLAIN.len() + at);
        }
        counters.failed_locks = sums.get(FAILED_LOCKS);
        counters
    }
}

/// Names of rows that are accepted from other machines: those of the configuration. Models are
/// not all known, so any name is accepted.
#[derive(Clone, Debug, Default)]
pub struct SharedNames(HashSet<String>);

impl SharedNames {
    /// The names of services, pools and keys.
    pub fn new<'n>(
        services: impl IntoIterator<Item = &'n str>,
        pools: impl IntoIterator<Item = (&'n str, Vec<String>)>,
    ) -> Self {
        let mut names = HashSet::new();
        for table in TABLES {
            names.extend(["", OTHER].map(|name| shared_name(table, name)));
        }
        names.extend(
            services
                .into_iter()
                .map(|name| shared_name(MetricsTable::Services, name)),
        );
        for (pool, keys) in pools {
            names.insert(shared_name(MetricsTable::Pools, pool));
            let key = |key| shared_name(MetricsTable::Keys, &[pool, "/", key].concat());
            // Requests without a key have an empty id.
            names.insert(key(""));
            names.extend(keys.iter().map(|id| key(id.as_str())));
        }
        Self(names)
    }

    /// Whether a row from a node is accepted: a known name, a stored day, and plausible numbers.
    #[must_use]
    pub fn accept(&self, row: &RowId, sums: &RowSums, today: Day) -> bool {
        let day = Day::from_number(row.day.into());
        let is_model = row.name.starts_with(&shared_name(MetricsTable::Models, ""));
        (is_model || self.0.contains(&*row.name))
            && day >= today.before(KEPT_DAYS)
            && day.before(1) <= today
            && Counters::from_sums(sums).is_plausible_day()
    }
}

impl MetricsZone<'_> {
    /// Adds the snapshot of another zone that other machines know. Its sums per day count as
    /// theirs, as they share them with each other.
    pub fn merge_shared(&mut self, saved: Snapshot, today: Day) {
        let (totals, days) = saved.split();
        self.merge(&totals, today);
        let days = days.iter();
        self.raise_others(today, days.map(|(day, name, sum)| (*day, &**name, *sum)));
    }

    /// The sums of this machine by day, with the row names used between machines. A day can be
    /// listed twice; both count then.
    pub fn rows_by_day(&self, since: Day) -> impl Iterator<Item = (Day, String, Counters)> {
        self.sums_by_day()
            .filter(move |(others, day, ..)| !others && *day >= since)
            .filter_map(|(_, day, at, sum)| Some((day, self.shared_name(at)?, sum)))
    }

    /// Raises the sums of other machines by day to at least these values. Rows have the names of
    /// [`MetricsZone::rows_by_day`]. Returns the number of rows for which there was no room.
    pub fn raise_others<'s>(
        &mut self,
        today: Day,
        rows: impl Iterator<Item = (Day, &'s str, Counters)>,
    ) -> usize {
        self.turn(today);
        let mut missed = 0;
        for (day, name, sums) in rows {
            // The clock of another machine may be ahead by less than a day.
            if day < today.before(KEPT_DAYS) || day.before(1) > today {
                continue;
            }
            let row = self.row_of(name);
            let is_raised = row.is_some_and(|at| self.daily.raise_others(at, day, &sums));
            missed += usize::from(!is_raised);
        }
        let day = self.daily.today().number().into();
        self.daily.add_up(self.rows, day, false);
        missed
    }

    fn shared_name(&self, at: usize) -> Option<String> {
        let table = TABLES.into_iter().find(|&t| self.range(t).contains(&at))?;
        let label = &self.rows.get(at)?.label;
        Some(shared_name(table, label.name()))
    }

    fn is_half_full(&self, table: MetricsTable) -> bool {
        // With the row `other`.
        2 * (self.count_names(table) + 1) >= self.range(table).len()
    }

    /// The row of a name from another machine, created if there is room.
    fn row_of(&mut self, name: &str) -> Option<usize> {
        let (letter, name) = name.split_once(':')?;
        let table = TABLES[LETTERS.iter().position(|&known| known == letter)?];
        if table == MetricsTable::Models
            && self.known(table, name).is_none()
            && self.is_half_full(table)
        {
            // The other half is reserved for models requested on this machine.
            return None;
        }
        let at = self.claim(table, name);
        // The row `other` cannot hold the values of several rows.
        (at != self.range(table).start || name == OTHER).then_some(at)
    }
}

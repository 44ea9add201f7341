//! Sharing of stats between machines: rows by day.

use std::collections::HashSet;

use super::daily::KEPT_DAYS;
use super::day::Day;
use super::record::OUTCOMES;
use super::row::{Counters, OTHER};
use super::snapshot::Snapshot;
use super::zone::{MetricsTable, MetricsZone, TABLES};
use crate::redlock::share::{RowId, RowSums};

/// Index of the sum of failed locks in the format for other machines: behind the outcomes, and
/// behind those still to be added.
const FAILED_LOCKS: usize = 32;
/// Number of counters before the outcomes.
const PLAIN: usize = 11;
const _: () = assert!(PLAIN + OUTCOMES.len() <= FAILED_LOCKS);

/// Prefixes of row names, by table.
const LETTERS: [&str; TABLES.len()] = ["s", "m", "p", "k"];

/// Name of a row between machines.
pub(super) fn shared_name(table: MetricsTable, name: &str) -> String {
    [LETTERS[table as usize], ":", name].concat()
}

impl Counters {
    /// The counters with their indexes in the format for other machines. The outcomes are behind
    /// the other counters, since more of them may be added.
    fn indexed(&mut self) -> impl Iterator<Item = (usize, &mut u64)> {
        let plain: [_; PLAIN] = [
            &mut self.attempts,
            &mut self.prompt,
            &mut self.completion,
            &mut self.cached,
            &mut self.reasoning,
            &mut self.estimated,
            &mut self.cost,
            &mut self.unpriced,
            &mut self.wait_ms,
            &mut self.hold_ms,
            &mut self.retries,
        ];
        let first = plain.into_iter().chain(&mut self.requests);
        first
            .enumerate()
            .chain([(FAILED_LOCKS, &mut self.failed_locks)])
    }

    /// The format for other machines.
    #[must_use]
    pub fn to_sums(mut self) -> RowSums {
        let mut sums = [0; FAILED_LOCKS + 1];
        for (at, count) in self.indexed() {
            sums[at] = *count;
        }
        RowSums::new(&sums)
    }

    /// Parses the format of other machines.
    #[must_use]
    pub fn from_sums(sums: &RowSums) -> Self {
        let mut counters = Self::default();
        for (at, count) in counters.indexed() {
            *count = sums.get(at);
        }
        counters
    }
}

/// Names of rows that are accepted from other machines: those of the configuration. Models are
/// not all known, so any name is accepted.
#[derive(Clone, Debug, Default)]
pub struct SharedNames(HashSet<String>);

impl SharedNames {
    /// The names of services, and of pools with their keys.
    pub fn new(
        services: &[String],
        pools: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Self {
        let mut names = HashSet::new();
        for table in TABLES {
            names.extend(["", OTHER].map(|name| shared_name(table, name)));
        }
        let services = services.iter();
        names.extend(services.map(|name| shared_name(MetricsTable::Services, name)));
        for (pool, keys) in pools {
            names.insert(shared_name(MetricsTable::Pools, &pool));
            // Requests without a key have an empty id.
            for key in keys.iter().map(String::as_str).chain([""]) {
                let name = [&pool, "/", key].concat();
                names.insert(shared_name(MetricsTable::Keys, &name));
            }
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
    pub fn merge_shared(&mut self, mut saved: Snapshot, today: Day) {
        let days = saved.by_day(true);
        saved.clear_days();
        self.merge(&saved, today);
        // The newest first, as there may not be room for all.
        let days = days.iter().rev();
        self.raise_others(today, days.map(|((day, name), sum)| (*day, &**name, *sum)));
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

    /// The row of a name from another machine, created if there is room.
    fn row_of(&mut self, name: &str) -> Option<usize> {
        let (letter, name) = name.split_once(':')?;
        let table = TABLES[LETTERS.iter().position(|&known| known == letter)?];
        // Half of the models, with the row `other`, are reserved for those requested on this machine.
        let is_half_full = || 2 * (self.count_names(table) + 1) >= self.range(table).len();
        let is_new = || self.known(table, name).is_none();
        if table == MetricsTable::Models && is_new() && is_half_full() {
            return None;
        }
        let at = self.claim(table, name);
        // The row `other` cannot hold the values of several rows.
        (at != self.range(table).start || name == OTHER).then_some(at)
    }
}

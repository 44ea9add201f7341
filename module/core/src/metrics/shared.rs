//! What machines share of their totals: rows by day.

use std::collections::HashSet;

use super::board::{Board, TABLES, Table};
use super::day::Day;
use super::ledger::KEPT_DAYS;
use super::record::OUTCOMES;
use super::row::{Counters, OTHER};
use super::saved::Saved;
use crate::redlock::share::{RowId, Sums};

/// How many sums there are besides those of outcomes.
const PLAIN: usize = 11;

/// What the names of the tables' rows begin with.
const LETTERS: [&str; TABLES.len()] = ["s", "m", "p", "k"];

/// What a row is called among machines.
pub(super) fn shared_name(table: Table, name: &str) -> String {
    [LETTERS[table as usize], ":", name].concat()
}

impl Counters {
    /// As machines tell them one another. Those of outcomes are the last: there may be
    /// more of them one day.
    #[must_use]
    pub fn to_sums(&self) -> Sums {
        let mut sums = [0; PLAIN + OUTCOMES.len()];
        let (plain, outcomes) = sums.split_at_mut(PLAIN);
        plain.copy_from_slice(&[
            self.attempts,
            self.prompt,
            self.completion,
            self.cached,
            self.reasoning,
            self.estimated,
            self.cost,
            self.unpriced,
            self.wait_ms,
            self.hold_ms,
            self.retries,
        ]);
        outcomes.copy_from_slice(&self.requests);
        Sums::new(&sums)
    }

    /// The same, read again.
    #[must_use]
    pub fn from_sums(sums: &Sums) -> Self {
        let mut requests = [0; OUTCOMES.len()];
        for (at, outcome) in requests.iter_mut().enumerate() {
            *outcome = sums.get(PLAIN + at);
        }
        Self {
            requests,
            attempts: sums.get(0),
            prompt: sums.get(1),
            completion: sums.get(2),
            cached: sums.get(3),
            reasoning: sums.get(4),
            estimated: sums.get(5),
            cost: sums.get(6),
            unpriced: sums.get(7),
            wait_ms: sums.get(8),
            hold_ms: sums.get(9),
            retries: sums.get(10),
        }
    }
}

/// The names that rows may have which other machines tell of: those that the configuration
/// has. Of models nobody knows all.
#[derive(Clone, Debug, Default)]
pub struct SharedNames(HashSet<String>);

impl SharedNames {
    /// Those of services, and of pools with their keys.
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
                .map(|name| shared_name(Table::Services, name)),
        );
        for (pool, keys) in pools {
            names.insert(shared_name(Table::Pools, pool));
            let key = |key| shared_name(Table::Keys, &[pool, "/", key].concat());
            names.extend(keys.iter().map(|id| key(id.as_str())));
        }
        Self(names)
    }

    /// Whether what a node says of a row is to be kept: a known name, a day that is kept, and
    /// no number that would spoil the sums for good.
    #[must_use]
    pub fn accept(&self, row: &RowId, sums: &Sums, today: Day) -> bool {
        let day = Day::from_number(row.day.into());
        let is_model = row.name.starts_with(&shared_name(Table::Models, ""));
        (is_model || self.0.contains(&*row.name))
            && day >= today.before(KEPT_DAYS)
            && day.before(1) <= today
            && Counters::from_sums(sums).is_plausible_day()
    }
}

impl Board<'_> {
    /// Adds what a file holds, as another block of totals that is known to other machines:
    /// what that has counted by day counts as theirs, as they tell it to each other.
    pub fn merge_shared(&mut self, saved: Saved, today: Day) {
        let (totals, days) = saved.split();
        self.merge(&totals, today);
        let days = days.iter();
        self.raise_others(today, days.map(|(day, name, sum)| (*day, &**name, *sum)));
    }

    /// What has been counted here, by day: the name of the row that other machines know
    /// it by, and its sums. A day can stand twice, and then both count.
    pub fn rows_by_day(&self, since: Day) -> impl Iterator<Item = (Day, String, Counters)> {
        let over = self.ledger.sums(false);
        let over = over.map(|(day, at, sum)| (day, at, *sum));
        let now = self.rows.iter().zip(&*self.ledger.begun).enumerate();
        let now = now.map(|(at, (row, begun))| {
            let sum = row.counters.since(begun);
            (self.ledger.today(), at, sum)
        });
        let wanted = move |day: Day, sum: &Counters| day >= since && *sum != Counters::default();
        over.chain(now)
            .filter(move |(day, _, sum)| wanted(*day, sum))
            .filter_map(|(day, at, sum)| Some((day, self.shared_name(at)?, sum)))
    }

    /// Raises what other machines have counted by day, in rows by the names that
    /// [`Board::rows_by_day`] gives them, to at least this. How many rows there is no
    /// room for.
    pub fn raise_others<'s>(
        &mut self,
        today: Day,
        rows: impl Iterator<Item = (Day, &'s str, Counters)>,
    ) -> usize {
        self.turn(today);
        let mut missed = 0;
        for (day, name, sums) in rows {
            // Another machine's clock may be ahead, by less than a day.
            if day < today.before(KEPT_DAYS) || day.before(1) > today {
                continue;
            }
            let row = self.row_of(name);
            let is_raised = row.is_some_and(|at| self.ledger.raise_others(at, day, &sums));
            missed += usize::from(!is_raised);
        }
        self.ledger.add_up(self.rows, false);
        missed
    }

    fn shared_name(&self, at: usize) -> Option<String> {
        let table = TABLES.into_iter().find(|&t| self.range(t).contains(&at))?;
        let label = &self.rows.get(at)?.label;
        Some(shared_name(table, label.name()))
    }

    fn is_half_full(&self, table: Table) -> bool {
        let rows = &self.rows[self.range(table)];
        let used = rows.iter().filter(|row| row.label.hash != 0).count();
        2 * used >= rows.len()
    }

    /// The row of a name, made if need be and if there is room.
    fn row_of(&mut self, name: &str) -> Option<usize> {
        let (letter, name) = name.split_once(':')?;
        let table = TABLES[LETTERS.iter().position(|&known| known == letter)?];
        if table == Table::Models && self.known(table, name).is_none() && self.is_half_full(table) {
            // The other half is for what is asked of this machine.
            return None;
        }
        let at = self.claim(table, name);
        // No one row can hold what is told of several.
        (at != self.range(table).start || name == OTHER).then_some(at)
    }
}

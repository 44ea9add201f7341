//! What has been counted since a day.

use std::collections::BTreeMap;

use super::board::{Board, Table};
use super::day::Day;
use super::ledger::{Passed, Use};
use super::row::Counters;
use crate::clients::Quota;

/// What has been counted under a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// The service, model or pool; of a key its pool, a slash, its id.
    pub name: String,
    /// What this machine has counted.
    pub here: Counters,
    /// What others have.
    pub elsewhere: Counters,
}

/// What has been counted since a day, by whatever way it is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// The first day that is in them.
    pub since: Day,
    /// By service.
    pub services: Vec<Line>,
    /// By model.
    pub models: Vec<Line>,
    /// By pool.
    pub pools: Vec<Line>,
    /// By key.
    pub keys: Vec<Line>,
}

impl Board<'_> {
    /// What has been counted of each service, since the beginning.
    #[must_use]
    pub fn services(&self) -> Vec<(String, Counters)> {
        let rows = self.used(Table::Services);
        rows.map(|(row, _)| (row.label.name().to_owned(), row.counters))
            .collect()
    }

    /// What a service has used on a day, the present one, and in its month: here, and
    /// on other machines. Nothing, if it is not known.
    pub fn used_by(&mut self, service: &str, day: Day) -> (Use, Use) {
        self.turn(day);
        let row = self.known(Table::Services, service);
        row.map_or_else(Default::default, |at| self.ledger.used(at, &self.rows[at]))
    }

    /// The bound that keeps a client from more, if there is one.
    pub fn passed(&mut self, service: &str, quota: &Quota, today: Day) -> Option<Passed> {
        self.turn(today);
        let at = self.known(Table::Services, service)?;
        self.ledger.passed(at, &self.rows[at], quota)
    }

    /// What has been counted since a day, or on all that are kept: of all services, or
    /// just of one, by its name.
    pub fn figures(&mut self, today: Day, since: Option<Day>, service: Option<&str>) -> Figures {
        self.turn(today);
        let first = self.ledger.first().unwrap_or(today);
        let since = since.map_or(first, |since| since.max(first));
        let only = service.map(|name| self.known(Table::Services, name));
        let wanted = |day: Day, at: usize| day >= since && only.is_none_or(|only| only == Some(at));
        let mut sums = BTreeMap::<usize, (Counters, Counters)>::new();
        for (day, at, sum) in self.ledger.sums(false) {
            if wanted(day, at) {
                let (here, _) = sums.entry(at).or_default();
                *here = here.plus(sum);
            }
        }
        for (day, at, sum) in self.ledger.sums(true) {
            if wanted(day, at) {
                let (_, elsewhere) = sums.entry(at).or_default();
                *elsewhere = elsewhere.plus(sum);
            }
        }
        let now = self.ledger.today();
        for (at, row) in self.rows.iter().enumerate() {
            if wanted(now, at) && row.counters != self.ledger.begun[at] {
                let (here, _) = sums.entry(at).or_default();
                *here = here.plus(&row.counters.since(&self.ledger.begun[at]));
            }
        }
        let lines = |table| {
            let sums = sums.range(self.range(table));
            let lines = sums.map(|(&at, &(here, elsewhere))| Line {
                name: self.rows[at].label.name().to_owned(),
                here,
                elsewhere,
            });
            lines.collect()
        };
        Figures {
            since,
            services: lines(Table::Services),
            models: lines(Table::Models),
            pools: lines(Table::Pools),
            keys: lines(Table::Keys),
        }
    }
}

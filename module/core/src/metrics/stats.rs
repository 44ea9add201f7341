//! Stats: sums since a day.

use std::collections::BTreeMap;

use super::daily::{QuotaReached, QuotaUsage};
use super::day::Day;
use super::row::Counters;
use super::zone::{MetricsTable, MetricsZone};
use crate::clients::Quota;

/// Sums of a service, model, pool or key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsRow {
    /// Name of the service, model or pool; for a key its pool, a slash and its id.
    pub name: String,
    /// Sums of this machine.
    pub here: Counters,
    /// Sums of other machines.
    pub elsewhere: Counters,
}

/// Sums since a day, by service, model, pool and key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsSums {
    /// The first day included.
    pub since: Day,
    /// By service.
    pub services: Vec<StatsRow>,
    /// By model.
    pub models: Vec<StatsRow>,
    /// By pool.
    pub pools: Vec<StatsRow>,
    /// By key.
    pub keys: Vec<StatsRow>,
}

impl MetricsZone<'_> {
    /// Counters of each service.
    #[must_use]
    pub fn services(&self) -> Vec<(String, Counters)> {
        let rows = self.used(MetricsTable::Services);
        rows.map(|(row, _)| (row.label.name().to_owned(), row.counters))
            .collect()
    }

    /// Usage of a service on a day, which must be the current one, and in its month: on this and
    /// other machines. Zero for an unknown service.
    pub fn used_by(&mut self, service: &str, day: Day) -> (QuotaUsage, QuotaUsage) {
        self.turn(day);
        let row = self.known(MetricsTable::Services, service);
        row.map_or_else(Default::default, |at| self.daily.used(at, &self.rows[at]))
    }

    /// The first quota that a client has used up, if any.
    pub fn passed(&mut self, service: &str, quota: &Quota, today: Day) -> Option<QuotaReached> {
        self.turn(today);
        let at = self.known(MetricsTable::Services, service)?;
        self.daily.passed(at, &self.rows[at], quota)
    }

    /// Sums since a day, or of all stored days: of all services or of one.
    pub fn stats(&mut self, today: Day, since: Option<Day>, service: Option<&str>) -> StatsSums {
        self.turn(today);
        let first = self.daily.first().unwrap_or(today);
        let since = since.map_or(first, |since| since.max(first));
        let only = service.map(|name| self.known(MetricsTable::Services, name));
        let wanted = |day: Day, at: usize| day >= since && only.is_none_or(|only| only == Some(at));
        let mut sums = BTreeMap::<usize, (Counters, Counters)>::new();
        for (day, at, sum) in self.daily.sums(false) {
            if wanted(day, at) {
                let (here, _) = sums.entry(at).or_default();
                *here = here.plus(sum);
            }
        }
        for (day, at, sum) in self.daily.sums(true) {
            if wanted(day, at) {
                let (_, elsewhere) = sums.entry(at).or_default();
                *elsewhere = elsewhere.plus(sum);
            }
        }
        let now = self.daily.today();
        for (at, row) in self.rows.iter().enumerate() {
            if wanted(now, at) && row.counters != self.daily.begun[at] {
                let (here, _) = sums.entry(at).or_default();
                *here = here.plus(&row.counters.since(&self.daily.begun[at]));
            }
        }
        let lines = |table| {
            let sums = sums.range(self.range(table));
            let lines = sums.map(|(&at, &(here, elsewhere))| StatsRow {
                name: self.rows[at].label.name().to_owned(),
                here,
                elsewhere,
            });
            lines.collect()
        };
        StatsSums {
            since,
            services: lines(MetricsTable::Services),
            models: lines(MetricsTable::Models),
            pools: lines(MetricsTable::Pools),
            keys: lines(MetricsTable::Keys),
        }
    }
}

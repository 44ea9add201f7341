//! Stats: sums since a day.

use std::collections::BTreeMap;

use super::daily::{QuotaReached, QuotaUsage};
use super::day::Day;
use super::row::Counters;
use super::words::add;
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

impl StatsRow {
    /// Sums of all machines.
    #[must_use]
    pub fn sum(&self) -> Counters {
        self.here.plus(&self.elsewhere)
    }
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

    /// Sums by day, without zeros. Each item says whether the sum is of other machines, and has its
    /// day, row and amount. A day can be listed twice; both count then.
    pub(super) fn sums_by_day(&self) -> impl Iterator<Item = (bool, Day, usize, Counters)> {
        let over = self.daily.sums();
        let over = over.map(|(others, day, at, sum)| (others, day, at, *sum));
        let today = self.daily.today();
        let now = self.rows.iter().zip(&*self.daily.begun).enumerate();
        let now = now.map(move |(at, (row, begun))| (false, today, at, row.counters.since(begun)));
        over.chain(now)
            .filter(|(.., sum)| *sum != Counters::default())
    }

    /// Sums since a day, or of all stored days: of all services or of one.
    pub fn stats(&mut self, today: Day, since: Option<Day>, service: Option<&str>) -> StatsSums {
        self.turn(today);
        let first = self.daily.first().unwrap_or(today);
        let since = since.map_or(first, |since| since.max(first));
        let only = service.map(|name| self.known(MetricsTable::Services, name));
        let wanted = |day: Day, at: usize| day >= since && only.is_none_or(|only| only == Some(at));
        let mut sums = BTreeMap::<usize, (Counters, Counters)>::new();
        for (others, day, at, sum) in self.sums_by_day() {
            if wanted(day, at) {
                let (here, elsewhere) = sums.entry(at).or_default();
                add(if others { elsewhere } else { here }, &sum);
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

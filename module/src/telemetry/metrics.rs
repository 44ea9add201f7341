//! What is counted of all requests, in the zone that all workers share.

use nginx_safe::{ConfResult, Level, SharedZone, ZoneContent};
use openai_core::circuit::Counts;
use openai_core::clients::Client;
use openai_core::metrics::{
    ByDay, Counters, Day, MetricsZone, QuotaReached, Record, StatsSums, UsageReport,
};
use openai_core::redlock::share::{RowId, RowSums};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::json;

use super::{event, now};
use crate::config::{Main, MetricsConfig, Pool};

impl ZoneContent for MetricsConfig {
    const DIRECTIVE: &'static str = "openai_stats";
    const KIND: usize = 1;

    fn channels(&self) -> usize {
        0
    }

    fn format(&self, bytes: &mut [u8]) -> ConfResult {
        let number = StdRng::from_os_rng().next_u64();
        let made =
            MetricsZone::format(bytes).map(|mut metrics| metrics.identity().instance = number);
        made.map_err(|e| format!("openai_stats \"{}\": {e}", self.name()))
    }

    fn adopt(&self, bytes: &mut [u8], interrupted: bool) -> ConfResult {
        let metrics = MetricsZone::open(bytes);
        let mut metrics = metrics.map_err(|e| format!("openai_stats \"{}\": {e}", self.name()))?;
        if interrupted {
            metrics.recover();
        }
        Ok(())
    }
}

pub fn change<T>(shared: SharedZone, act: impl FnOnce(&mut MetricsZone<'_>) -> T) -> Option<T> {
    shared.with(|bytes, interrupted| {
        let mut metrics = MetricsZone::open(bytes).ok()?;
        if interrupted {
            // A process died while it added to the totals.
            metrics.recover();
        }
        Some(act(&mut metrics))
    })?
}

/// Has the totals begin at zero for all that the configuration names.
pub fn introduce(main: &Main) {
    let Some(shared) = main.metrics.shared else {
        return;
    };
    change(shared, |metrics| {
        for client in main.clients.iter().flat_map(|clients| clients.as_slice()) {
            metrics.introduce(Some(&client.name), None);
        }
        for pool in &main.pools {
            for key in pool.keys.newest() {
                metrics.introduce(None, Some((&pool.name, key.id.as_str())));
            }
        }
    });
}

/// What other machines know the totals by.
pub fn instance(shared: SharedZone) -> Option<u64> {
    change(shared, |metrics| metrics.identity().instance)
}

/// What has been counted here, by day and the name of the row, from a day on.
pub fn by_day(shared: SharedZone, since: Day) -> ByDay {
    let rows = change(shared, |metrics| {
        metrics.rows_by_day(since).collect::<Vec<_>>()
    });
    let mut sums = ByDay::new();
    for (day, name, counters) in rows.into_iter().flatten() {
        let sum = sums.entry((day, name)).or_default();
        *sum = sum.plus(&counters);
    }
    sums
}

/// Notes what other machines have counted; for how much of it there is no room.
pub fn raise_others(shared: SharedZone, today: Day, rows: &[(RowId, RowSums)]) -> Option<usize> {
    let rows = rows.iter().map(|(row, sums)| {
        let day = Day::from_number(row.day.into());
        (day, &*row.name, Counters::from_sums(sums))
    });
    change(shared, |metrics| metrics.raise_others(today, rows))
}

/// What has been counted since a day, of all services or of one.
pub fn stats(main: &Main, since: Option<Day>, service: Option<&str>) -> Option<StatsSums> {
    let today = Day::of(now().wall_us);
    change(main.metrics.shared?, |metrics| {
        metrics.stats(today, since, service)
    })
}

/// Whether a client has used as much as it may; the first time it is told in the log.
pub fn is_used_up(main: &Main, client: &Client) -> bool {
    if client.quota.limits().is_empty() {
        return false;
    }
    let today = Day::of(now().wall_us);
    let Some(shared) = main.metrics.shared else {
        return false;
    };
    let passed = change(shared, |metrics| {
        metrics.passed(&client.name, &client.quota, today)
    });
    let Some(QuotaReached {
        limit,
        used,
        is_news,
    }) = passed.flatten()
    else {
        return false;
    };
    if is_news {
        let fields = json!({
            "service_name": client.name,
            "quota": limit.measure(),
            "period": limit.period(),
            "limit": limit.shown(limit.most),
            "used": limit.shown(used),
        });
        event(Level::Warn, "quota_used_up", fields);
    }
    true
}

/// Adds what a service says it has done with a lock.
pub fn report(main: &Main, report: &UsageReport<'_>) {
    if let Some(shared) = main.metrics.shared {
        let day = Day::of(now().wall_us);
        change(shared, |metrics| metrics.report(day, report));
    }
}

/// Adds a request that has ended, and notes when its client was last seen.
pub fn add(shared: SharedZone, record: &Record<'_>, client: Option<&str>) {
    let seen = now().wall_us / 1_000_000;
    change(shared, |metrics| {
        metrics.add(record);
        if let Some(client) = client {
            metrics.see(client, seen);
        }
    });
}

/// The requests of pools in the last minute.
pub fn recent<'a>(main: &Main, pools: impl Iterator<Item = &'a Pool>) -> Vec<Counts> {
    let now_ms = now().mono_ms;
    let told = main.metrics.shared.and_then(|shared| {
        change(shared, |metrics| {
            pools
                .map(|pool| metrics.recent(&pool.name, now_ms))
                .collect()
        })
    });
    told.unwrap_or_default()
}

/// What has been counted since the beginning, by service.
pub fn services(main: &Main) -> Vec<(String, Counters)> {
    let told = main
        .metrics
        .shared
        .and_then(|shared| change(shared, |metrics| metrics.services()));
    told.unwrap_or_default()
}

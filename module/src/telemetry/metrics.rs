//! Metrics of all requests, in a zone that all workers share.

use std::cell::RefCell;

use nginx_safe::{ConfResult, Level, SharedZone, Timer, ZoneContent};
use openai_core::circuit::Counts;
use openai_core::clients::Client;
use openai_core::metrics::{
    ByDay, Counters, Day, MetricsCopy, MetricsZone, PoolRequest, QuotaReached, Record, StatsSums,
    UsageReport,
};
use openai_core::redlock::share::{RowId, RowSums};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::json;

use super::{event, now};
use crate::config::{Main, MetricsContent, Pool};

impl ZoneContent for MetricsContent {
    const DIRECTIVE: &'static str = "openai_stats";
    const TAG: [u8; 8] = *b"oalease\x01";

    fn channels(&self) -> usize {
        0
    }

    fn format(&self, bytes: &mut [u8]) -> ConfResult {
        let number = StdRng::from_os_rng().next_u64();
        let made =
            MetricsZone::format(bytes).map(|mut metrics| metrics.identity().instance = number);
        made.map_err(|e| e.to_string())
    }

    fn adopt(&self, bytes: &mut [u8], interrupted: bool) -> ConfResult {
        let mut metrics = MetricsZone::open(bytes).map_err(|e| e.to_string())?;
        if interrupted {
            metrics.recover();
        }
        Ok(())
    }
}

/// Requests that have ended in this turn of the event loop, to be added together.
#[derive(Default)]
struct Batch {
    /// Each with the ends of its names in `names`: service, pool, key, model.
    ended: Vec<(Record<'static>, [usize; 4])>,
    names: String,
    shared: Option<SharedZone>,
    due: Option<Timer>,
}

thread_local! {
    static BATCH: RefCell<Batch> = RefCell::default();
}

impl Batch {
    fn add_to(&mut self, metrics: &mut MetricsZone<'_>) {
        let seen = now().wall_us / 1_000_000;
        // Taken, so that a panic leaves no names behind.
        let mut names = std::mem::take(&mut self.names);
        let mut from = 0;
        for (record, ends) in self.ended.drain(..) {
            let [service, pool, key, model] = ends.map(|end| {
                let start = std::mem::replace(&mut from, end);
                names.get(start..end).unwrap_or_default()
            });
            let request = record.request.map(|request| PoolRequest {
                service,
                pool,
                key,
                model,
                ..request
            });
            metrics.add(&Record { request, ..record });
            if !service.is_empty() {
                metrics.seen(service, seen);
            }
        }
        names.clear();
        self.names = names;
    }
}

/// Changes the metrics while holding their mutex, after this worker's ended requests are added.
pub fn change<T>(shared: SharedZone, act: impl FnOnce(&mut MetricsZone<'_>) -> T) -> Option<T> {
    shared.with(|bytes, interrupted| Some(act(&mut complete(bytes, interrupted)?)))?
}

/// The metrics, including this worker's ended requests.
fn complete(bytes: &mut [u8], interrupted: bool) -> Option<MetricsZone<'_>> {
    let mut metrics = MetricsZone::open(bytes).ok()?;
    if interrupted {
        // A process died while it added to the metrics.
        metrics.recover();
    }
    BATCH.with_borrow_mut(|batch| batch.add_to(&mut metrics));
    Some(metrics)
}

/// A copy of the metrics without earlier days, including this worker's ended requests.
pub fn copy(shared: SharedZone) -> Option<MetricsCopy> {
    shared.with(|bytes, interrupted| {
        complete(bytes, interrupted)?;
        MetricsCopy::of(bytes).ok()
    })?
}

/// Adds this worker's ended requests.
pub fn flush() {
    let shared = BATCH.with_borrow(|batch| batch.shared.filter(|_| !batch.ended.is_empty()));
    shared.map(|shared| change(shared, |_| ()));
}

/// Creates rows with zeros for the clients, pools and keys of the configuration. Logs clients whose
/// quotas cannot be counted: rows of clients that have been removed stay until nginx stops.
pub fn introduce(main: &Main) {
    let Some(shared) = main.metrics.shared else {
        return;
    };
    let uncounted = change(shared, |metrics| {
        for pool in &main.pools {
            for key in &pool.keys {
                metrics.introduce_key(&pool.name, &key.id);
            }
        }
        let clients = main.clients.iter().flat_map(|clients| clients.as_slice());
        let uncounted = clients.filter(|client| !metrics.introduce_service(&client.name));
        uncounted.collect::<Vec<_>>()
    });
    for client in uncounted.into_iter().flatten() {
        if !client.quota.limits().is_empty() {
            let fields = json!({ "service_name": client.name });
            event(Level::Error, "quota_not_counted", fields);
        }
    }
}

/// Number by which other machines identify these stats.
pub fn instance(shared: SharedZone) -> Option<u64> {
    change(shared, |metrics| metrics.identity().instance)
}

/// Counts of this machine from a day on, by day and row name.
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

/// Raises the counts of other machines to at least these values. Returns the number of rows
/// for which there was no room.
pub fn raise_others(shared: SharedZone, today: Day, rows: &[(RowId, RowSums)]) -> Option<usize> {
    let rows = rows.iter().map(|(row, sums)| {
        let day = Day::from_number(row.day.into());
        (day, &*row.name, Counters::from_sums(sums))
    });
    change(shared, |metrics| metrics.raise_others(today, rows))
}

/// Changes the metrics of a configuration, if it has any.
fn change_of<T>(main: &Main, act: impl FnOnce(&mut MetricsZone<'_>) -> T) -> Option<T> {
    change(main.metrics.shared?, act)
}

/// The current day.
pub fn today() -> Day {
    Day::of(now().wall_us)
}

/// Sums since a day, or of all stored days; of all services or of one.
pub fn stats(main: &Main, since: Option<Day>, service: Option<&str>) -> Option<StatsSums> {
    change_of(main, |metrics| metrics.stats(today(), since, service))
}

/// The quota that a client has used up.
pub fn quota_reached(main: &Main, client: &Client) -> Option<QuotaReached> {
    if client.quota.limits().is_empty() {
        return None;
    }
    let passed =
        |metrics: &mut MetricsZone<'_>| metrics.passed(&client.name, &client.quota, today());
    change_of(main, passed).flatten()
}

/// Adds what a service reports about a lock.
pub fn report(main: &Main, report: &UsageReport<'_>) {
    change_of(main, |metrics| metrics.report(today(), report));
}

/// Requests of each pool in the last minute, and how many failed.
pub fn recent<'a>(main: &Main, pools: impl Iterator<Item = &'a Pool>) -> Vec<Counts> {
    let now_ms = now().mono_ms;
    let recent = |metrics: &mut MetricsZone<'_>| {
        let counts = pools.map(|pool| metrics.recent(&pool.name, now_ms));
        counts.collect()
    };
    change_of(main, recent).unwrap_or_default()
}

/// Counters of each service since the metrics began.
pub fn services(main: &Main) -> Vec<(String, Counters)> {
    change_of(main, |metrics| metrics.services()).unwrap_or_default()
}

/// Adds an ended request, and the time when its client was last seen, later in this turn of
/// the event loop. `names`: service, pool, key and model; empty if there is none.
pub fn add(shared: SharedZone, record: Record<'static>, names: [&str; 4]) {
    BATCH.with_borrow_mut(|batch| {
        let ends = names.map(|name| {
            batch.names.push_str(name);
            batch.names.len()
        });
        batch.ended.push((record, ends));
        batch.shared = Some(shared);
        let due = batch
            .due
            .get_or_insert_with(|| Timer::new(true, |_| flush(), 0));
        due.soon();
    });
}

/// Adds the remaining requests, when the worker exits.
pub fn stop() {
    flush();
    BATCH.take();
}

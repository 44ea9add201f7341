//! The metrics in Prometheus' text format.

use std::collections::BTreeMap;

use bytemuck::Zeroable;

use super::exposition::{Exposition, Labels, by_name, labels, values};
use super::histogram::Histogram;
use super::http::{self, Cell};
use super::live::Live;
use super::record::OUTCOMES;
use super::row::{Counters, Row, Times};
use super::words::add;
use super::zone::{MetricsTable, MetricsZone, TABLES};
use crate::prices::UNITS_PER_DOLLAR;

/// All families of metrics.
const FAMILIES: &str = include_str!("families.txt");

/// A row and its histograms, if it has any.
type TimedRow<'a> = (&'a Row, Option<&'a Times>);

/// The used rows of a table, or only that of one service, with their labels.
fn named<'a>(
    metrics: &'a MetricsZone<'_>,
    table: MetricsTable,
    service: Option<&str>,
) -> Vec<(String, TimedRow<'a>)> {
    let shown = |row: &Row| match service {
        None => true,
        Some(name) => table == MetricsTable::Services && row.label.name() == name,
    };
    let used = metrics.used(table).filter(|(row, _)| shown(row));
    let named = used.map(|(row, times)| {
        let name = row.label.name();
        let labels = match name.split_once('/') {
            Some((pool, key)) if table == MetricsTable::Keys => {
                labels([("pool", pool), ("key", key)])
            }
            None if table == MetricsTable::Keys => labels([("pool", name), ("key", name)]),
            _ => labels([(table.name(), name)]),
        };
        (labels, (row, times))
    });
    named.collect()
}

/// One counter of every row of a table.
fn each<'a>(
    table: &'a [(String, TimedRow<'_>)],
    pick: impl Fn(&Counters) -> f64,
) -> impl Iterator<Item = (&'a str, f64)> {
    values(table, move |(row, _)| Some(pick(&row.counters)))
}

/// The requests of a table by outcome.
fn outcomes<'a>(table: &'a [(String, TimedRow<'_>)]) -> impl Iterator<Item = (Labels<'a>, f64)> {
    by_name(table, "status", 1, |(row, _)| {
        let outcomes = OUTCOMES.into_iter().zip(row.counters.requests);
        outcomes.map(|(outcome, count)| (outcome.as_str(), count))
    })
}

fn tokens<'a>(table: &'a [(String, TimedRow<'_>)]) -> impl Iterator<Item = (Labels<'a>, f64)> {
    by_name(table, "kind", 2, |(row, _)| {
        let kinds = [
            ("prompt", row.counters.prompt),
            ("completion", row.counters.completion),
            ("cached", row.counters.cached),
            ("reasoning", row.counters.reasoning),
        ];
        kinds.into_iter()
    })
}

fn times<'a>(
    table: &'a [(String, TimedRow<'_>)],
    pick: fn(&Times) -> &Histogram,
) -> impl Iterator<Item = (&'a str, &'a Histogram)> {
    let rows = table.iter();
    rows.filter_map(move |(labels, (_, times))| Some((&**labels, pick((*times)?))))
}

fn dollars(counters: &Counters) -> f64 {
    counters.cost as f64 / UNITS_PER_DOLLAR as f64
}

/// All metrics as text; for a service only its own counters and quotas, and the state of the
/// pools.
#[must_use]
pub fn render(metrics: &MetricsZone<'_>, live: &Live<'_>, service: Option<&str>) -> String {
    let [services, models, pools, keys] = TABLES.map(|table| named(metrics, table, service));
    let mut all = Exposition::new(FAMILIES);
    if service.is_none() {
        add_http(&mut all, metrics);
        add_api(&mut all, metrics);
    }
    all.add("openai_service_requests_total", outcomes(&services));
    all.add(
        "openai_service_failed_locks_total",
        each(&services, |c| c.failed_locks as f64),
    );
    all.histograms(
        "openai_service_request_duration_seconds",
        times(&services, |times| &times.duration),
    );
    all.add("openai_service_tokens_total", tokens(&services));
    all.add(
        "openai_service_cost_dollars_total",
        each(&services, dollars),
    );
    all.add("openai_api_calls_total", outcomes(&models));
    all.add(
        "openai_tokens_used_total",
        each(&models, |c| c.prompt.saturating_add(c.completion) as f64),
    );
    all.add("openai_tokens_total", tokens(&models));
    all.add(
        "openai_tokens_estimated_total",
        each(&models, |c| c.estimated as f64),
    );
    all.add("openai_cost_dollars_total", each(&models, dollars));
    all.add(
        "openai_unpriced_requests_total",
        each(&models, |c| c.unpriced as f64),
    );
    all.histograms(
        "openai_time_to_first_token_seconds",
        times(&models, |times| &times.first_token),
    );
    all.add("openai_pool_requests_total", outcomes(&pools));
    all.add(
        "openai_upstream_attempts_total",
        each(&pools, |c| c.attempts as f64),
    );
    all.add("openai_retries_total", each(&pools, |c| c.retries as f64));
    all.histograms(
        "openai_service_lock_acquisition_duration_seconds",
        times(&pools, |times| &times.wait),
    );
    all.histograms(
        "openai_lease_hold_seconds",
        times(&pools, |times| &times.hold),
    );
    all.add("openai_key_requests_total", outcomes(&keys));
    all.add("openai_key_tokens_total", tokens(&keys));
    all.add("openai_key_cost_dollars_total", each(&keys, dollars));
    all.add(
        "openai_key_hold_seconds_total",
        each(&keys, |c| c.hold_ms as f64 / 1e3),
    );
    live.add_to(&mut all, service);
    all.text
}

fn add_http(all: &mut Exposition, metrics: &MetricsZone<'_>) {
    let used = http::used(metrics.cells).map(|(method, endpoint, cell)| {
        let labels = labels([("method", method), ("endpoint", endpoint)]);
        (labels, cell)
    });
    let used: Vec<_> = used.collect();
    all.add("http_requests_total", statuses(&used));
    all.histograms("http_request_duration_seconds", durations(&used));
}

/// Writes the requests by endpoint of the API, over all methods. Other endpoints are `other`.
fn add_api(all: &mut Exposition, metrics: &MetricsZone<'_>) {
    let mut sums = BTreeMap::<&str, Cell>::new();
    for (_, endpoint, cell) in http::used(metrics.cells) {
        let is_api = endpoint.starts_with("/v1/");
        let sum = sums.entry(if is_api { endpoint } else { "other" });
        add(sum.or_insert_with(Cell::zeroed), cell);
    }
    let sums = sums.iter();
    let sums = sums.map(|(endpoint, cell)| (labels([("endpoint", endpoint)]), cell));
    let sums: Vec<_> = sums.collect();
    all.add("api_requests_total", statuses(&sums));
    all.histograms("api_request_duration_seconds", durations(&sums));
}

/// Requests by status.
fn statuses<'a>(cells: &'a [(String, &'a Cell)]) -> impl Iterator<Item = (Labels<'a>, f64)> {
    by_name(cells, "status", 0, |cell| {
        let names = http::status_names().iter().map(String::as_str);
        names.zip(cell.statuses)
    })
}

fn durations<'a>(
    cells: &'a [(String, &'a Cell)],
) -> impl Iterator<Item = (&'a str, &'a Histogram)> {
    let cells = cells.iter();
    cells.map(|(labels, cell)| (&**labels, &cell.duration))
}

//! The metrics in Prometheus' text format.

use std::collections::BTreeMap;

use bytemuck::Zeroable;

use super::exposition::{Exposition, Labels, labels};
use super::histogram::Histogram;
use super::http::{self, Cell};
use super::live::Live;
use super::record::OUTCOMES;
use super::row::{Counters, Row, Times};
use super::words::add;
use super::zone::{MetricsTable, MetricsZone, TABLES};
use crate::prices::UNITS_PER_DOLLAR;

/// A row and its labels.
struct LabelledRow<'a> {
    labels: String,
    row: &'a Row,
    times: Option<&'a Times>,
}

/// The used rows of a table, or only that of one service.
fn named<'a>(
    metrics: &'a MetricsZone<'_>,
    table: MetricsTable,
    service: Option<&str>,
) -> Vec<LabelledRow<'a>> {
    let shown = |row: &Row| match service {
        None => true,
        Some(name) => matches!(table, MetricsTable::Services) && row.label.name() == name,
    };
    let named = |(row, times): (&'a Row, _)| {
        let name = row.label.name();
        let labels = match table {
            MetricsTable::Services => labels([("service", name)]),
            MetricsTable::Models => labels([("model", name)]),
            MetricsTable::Pools => labels([("pool", name)]),
            MetricsTable::Keys => {
                let (pool, key) = name.split_once('/').unwrap_or((name, name));
                labels([("pool", pool), ("key", key)])
            }
        };
        LabelledRow { labels, row, times }
    };
    let used = metrics.used(table).filter(|(row, _)| shown(row));
    used.map(named).collect()
}

/// One counter of every row of a table.
fn each<'a>(
    table: &'a [LabelledRow<'_>],
    pick: impl Fn(&Counters) -> f64,
) -> impl Iterator<Item = (&'a String, f64)> {
    table
        .iter()
        .map(move |named| (&named.labels, pick(&named.row.counters)))
}

/// The requests of a table by outcome, without zeros.
fn outcomes<'a>(table: &'a [LabelledRow<'_>]) -> impl Iterator<Item = (Labels<'a>, f64)> {
    table.iter().flat_map(|named| {
        let told = OUTCOMES.into_iter().zip(named.row.counters.requests);
        // The series `success` always exists, so that a rate has a first value.
        told.filter(|&(outcome, count)| count > 0 || outcome == OUTCOMES[0])
            .map(|(outcome, count)| {
                let labels = Labels::with(&named.labels, "status", outcome.as_str());
                (labels, count as f64)
            })
    })
}

fn tokens<'a>(table: &'a [LabelledRow<'_>]) -> impl Iterator<Item = (Labels<'a>, f64)> {
    table.iter().flat_map(|named| {
        let c = &named.row.counters;
        let kinds = [
            ("prompt", c.prompt),
            ("completion", c.completion),
            ("cached", c.cached),
            ("reasoning", c.reasoning),
        ];
        let told = kinds.into_iter().enumerate();
        told.filter(|&(at, (_, count))| at < 2 || count > 0)
            .map(|(_, (kind, count))| (Labels::with(&named.labels, "kind", kind), count as f64))
    })
}

fn times<'a>(
    table: &'a [LabelledRow<'_>],
    pick: fn(&Times) -> &Histogram,
) -> impl Iterator<Item = (&'a String, &'a Histogram)> {
    table
        .iter()
        .filter_map(move |named| Some((&named.labels, pick(named.times?))))
}

fn dollars(counters: &Counters) -> f64 {
    counters.cost as f64 / UNITS_PER_DOLLAR as f64
}

/// All metrics as text; for a service only its own counters and quotas, and the state of the
/// pools.
#[must_use]
pub fn render(metrics: &MetricsZone<'_>, live: &Live<'_>, service: Option<&str>) -> String {
    let [services, models, pools, keys] = TABLES.map(|table| named(metrics, table, service));
    let mut all = Exposition::default();
    if service.is_none() {
        add_http(&mut all, metrics);
        add_api(&mut all, metrics);
    }
    all.counters(
        "openai_service_requests_total",
        "Requests by service and outcome.",
        outcomes(&services),
    );
    all.counters(
        "openai_service_failed_locks_total",
        "Locks whose service reported a failure, by service.",
        each(&services, |c| c.failed_locks as f64),
    );
    all.histograms(
        "openai_service_request_duration_seconds",
        "Time from a request's first byte to the last byte of its response, by service.",
        times(&services, |times| &times.duration),
    );
    all.counters(
        "openai_service_tokens_total",
        "Tokens by service and kind; cached tokens are included in prompt, reasoning tokens in completion.",
        tokens(&services),
    );
    all.counters(
        "openai_service_cost_dollars_total",
        "Cost of tokens by service, for models with a price.",
        each(&services, dollars),
    );
    all.counters(
        "openai_api_calls_total",
        "Requests by model and outcome.",
        outcomes(&models),
    );
    all.counters(
        "openai_tokens_used_total",
        "Prompt and completion tokens by model.",
        each(&models, |c| c.prompt.saturating_add(c.completion) as f64),
    );
    all.counters(
        "openai_tokens_total",
        "Tokens by model and kind; cached tokens are included in prompt, reasoning tokens in completion.",
        tokens(&models),
    );
    all.counters(
        "openai_tokens_estimated_total",
        "Estimated prompt and completion tokens by model.",
        each(&models, |c| c.estimated as f64),
    );
    all.counters(
        "openai_cost_dollars_total",
        "Cost of tokens by model, for models with a price.",
        each(&models, dollars),
    );
    all.counters(
        "openai_unpriced_requests_total",
        "Requests that used tokens of a model without a price.",
        each(&models, |c| c.unpriced as f64),
    );
    all.histograms(
        "openai_time_to_first_token_seconds",
        "Time from the lease to the first token of a stream, by model.",
        times(&models, |times| &times.first_token),
    );
    all.counters(
        "openai_pool_requests_total",
        "Requests by pool and outcome.",
        outcomes(&pools),
    );
    all.counters(
        "openai_upstream_attempts_total",
        "Attempts by pool.",
        each(&pools, |c| c.attempts as f64),
    );
    all.counters(
        "openai_retries_total",
        "Retries by pool: attempts except the first of each request.",
        each(&pools, |c| c.retries as f64),
    );
    all.histograms(
        "openai_service_lock_acquisition_duration_seconds",
        "Time that requests waited for a lease, by pool, including those that got none.",
        times(&pools, |times| &times.wait),
    );
    all.histograms(
        "openai_lease_hold_seconds",
        "Time that leases were held, by pool.",
        times(&pools, |times| &times.hold),
    );
    all.counters(
        "openai_key_requests_total",
        "Requests by key and outcome; the key is empty for requests without one.",
        outcomes(&keys),
    );
    all.counters(
        "openai_key_tokens_total",
        "Tokens by key and kind; cached tokens are included in prompt, reasoning tokens in completion.",
        tokens(&keys),
    );
    all.counters(
        "openai_key_cost_dollars_total",
        "Cost of tokens by key, for models with a price.",
        each(&keys, dollars),
    );
    all.counters(
        "openai_key_hold_seconds_total",
        "Time that a key was leased.",
        each(&keys, |c| c.hold_ms as f64 / 1e3),
    );
    live.add_to(&mut all, service);
    all.0
}

fn add_http(all: &mut Exposition, metrics: &MetricsZone<'_>) {
    let cells = metrics.cells.iter().enumerate();
    let used = cells.filter(|(_, cell)| cell.duration.count() > 0);
    let used: Vec<_> = used
        .map(|(at, cell)| {
            let (method, endpoint) = (http::method_of(at), http::endpoint_of(at));
            (labels([("method", method), ("endpoint", endpoint)]), cell)
        })
        .collect();
    all.counters(
        "http_requests_total",
        "Requests by method, endpoint and status.",
        statuses(&used),
    );
    all.histograms(
        "http_request_duration_seconds",
        "Time from a request's first byte to the last byte of its response, by method and endpoint.",
        used.iter().map(|(labels, cell)| (labels, &cell.duration)),
    );
}

/// Writes the requests by endpoint of the API, over all methods.
fn add_api(all: &mut Exposition, metrics: &MetricsZone<'_>) {
    let mut sums = BTreeMap::<&str, Cell>::new();
    for (at, cell) in metrics.cells.iter().enumerate() {
        if cell.duration.count() > 0 {
            let sum = sums.entry(http::api_endpoint_of(at));
            add(sum.or_insert_with(Cell::zeroed), cell);
        }
    }
    let sums = sums.iter();
    let sums: Vec<_> = sums
        .map(|(endpoint, cell)| (labels([("endpoint", endpoint)]), cell))
        .collect();
    all.counters(
        "api_requests_total",
        "Requests by endpoint and status.",
        statuses(&sums),
    );
    all.histograms(
        "api_request_duration_seconds",
        "Time from a request's first byte to the last byte of its response, by endpoint.",
        sums.iter().map(|(labels, cell)| (labels, &cell.duration)),
    );
}

/// Requests by status, without zeros.
fn statuses<'a>(cells: &'a [(String, &'a Cell)]) -> impl Iterator<Item = (Labels<'a>, f64)> {
    cells.iter().flat_map(|(labels, cell)| {
        let told = cell.statuses.iter().enumerate();
        told.filter(|&(_, &count)| count > 0)
            .map(|(status, &count)| {
                let labels = Labels::with(labels, "status", http::status_of(status));
                (labels, count as f64)
            })
    })
}

//! The totals in Prometheus' text format.

use std::collections::BTreeMap;

use bytemuck::Zeroable;

use super::board::{Board, Snapshot, TABLES, Table};
use super::histogram::Histogram;
use super::http::{self, Cell};
use super::live::Live;
use super::record::OUTCOMES;
use super::row::{Counters, Row, Times};
use super::sheet::{Labels, Sheet, labels};
use super::words::add;
use crate::prices::UNITS_PER_DOLLAR;

/// A row, and the labels that name it.
struct Named<'a> {
    labels: String,
    row: &'a Row,
    times: Option<&'a Times>,
}

/// The rows of a table that are used; of one service only its own.
fn named<'a>(board: &'a Board<'_>, table: Table, service: Option<&str>) -> Vec<Named<'a>> {
    let shown = |row: &Row| match service {
        None => true,
        Some(name) => matches!(table, Table::Services) && row.label.name() == name,
    };
    let named = |(row, times): (&'a Row, _)| {
        let name = row.label.name();
        let labels = match table {
            Table::Services => labels([("service", name)]),
            Table::Models => labels([("model", name)]),
            Table::Pools => labels([("pool", name)]),
            Table::Keys => {
                let (pool, key) = name.split_once('/').unwrap_or((name, name));
                labels([("pool", pool), ("key", key)])
            }
        };
        Named { labels, row, times }
    };
    let used = board.used(table).filter(|(row, _)| shown(row));
    used.map(named).collect()
}

/// A counter of every row of a table.
fn each<'a>(
    table: &'a [Named<'_>],
    pick: impl Fn(&Counters) -> f64,
) -> impl Iterator<Item = (&'a String, f64)> {
    table
        .iter()
        .map(move |named| (&named.labels, pick(&named.row.counters)))
}

/// The requests of a table by outcome: those that came about.
fn outcomes<'a>(table: &'a [Named<'_>]) -> impl Iterator<Item = (Labels<'a>, f64)> {
    table.iter().flat_map(|named| {
        let told = OUTCOMES.into_iter().zip(named.row.counters.requests);
        // A row of success is there from the start: a rate needs a first value.
        told.filter(|&(outcome, count)| count > 0 || outcome == OUTCOMES[0])
            .map(|(outcome, count)| {
                let labels = Labels::with(&named.labels, "status", outcome.as_str());
                (labels, count as f64)
            })
    })
}

fn tokens<'a>(table: &'a [Named<'_>]) -> impl Iterator<Item = (Labels<'a>, f64)> {
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
    table: &'a [Named<'_>],
    pick: fn(&Times) -> &Histogram,
) -> impl Iterator<Item = (&'a String, &'a Histogram)> {
    table
        .iter()
        .filter_map(move |named| Some((&named.labels, pick(named.times?))))
}

fn dollars(counters: &Counters) -> f64 {
    counters.cost as f64 / UNITS_PER_DOLLAR as f64
}

/// All totals, and what is so at the moment, as text; or what a service may see of it: its
/// own totals and quotas, and how busy the pools are.
#[must_use]
pub fn render(board: &Board<'_>, live: &Live<'_>, service: Option<&str>) -> String {
    let [services, models, pools, keys] = TABLES.map(|table| named(board, table, service));
    let mut all = Sheet::default();
    if service.is_none() {
        add_http(&mut all, board);
        add_api(&mut all, board);
    }
    all.counters(
        "openai_service_requests_total",
        "Requests by service and outcome.",
        outcomes(&services),
    );
    all.histograms(
        "openai_service_request_duration_seconds",
        "Time from a request's first byte to the last of its answer, by service.",
        times(&services, |times| &times.duration),
    );
    all.counters(
        "openai_service_tokens_total",
        "Tokens by service and kind; cached are part of prompt, reasoning of completion.",
        tokens(&services),
    );
    all.counters(
        "openai_service_cost_dollars_total",
        "Cost of tokens whose model has a price, by service.",
        each(&services, dollars),
    );
    all.counters(
        "openai_api_calls_total",
        "Requests by model and outcome.",
        outcomes(&models),
    );
    all.counters(
        "openai_tokens_used_total",
        "Tokens of prompts and completions by model.",
        each(&models, |c| c.prompt.saturating_add(c.completion) as f64),
    );
    all.counters(
        "openai_tokens_total",
        "Tokens by model and kind; cached are part of prompt, reasoning of completion.",
        tokens(&models),
    );
    all.counters(
        "openai_tokens_estimated_total",
        "Tokens of prompts and completions that are estimated, by model.",
        each(&models, |c| c.estimated as f64),
    );
    all.counters(
        "openai_cost_dollars_total",
        "Cost of tokens by model; a model without a price has none.",
        each(&models, dollars),
    );
    all.counters(
        "openai_unpriced_requests_total",
        "Requests that used tokens of a model without a price.",
        each(&models, |c| c.unpriced as f64),
    );
    all.histograms(
        "openai_time_to_first_token_seconds",
        "Time from the lease to the first word of a streamed answer, by model.",
        times(&models, |times| &times.first_token),
    );
    all.counters(
        "openai_pool_requests_total",
        "Requests by pool and outcome.",
        outcomes(&pools),
    );
    all.counters(
        "openai_upstream_attempts_total",
        "Times that requests were sent upstream, by pool.",
        each(&pools, |c| c.attempts as f64),
    );
    all.counters(
        "openai_retries_total",
        "Times that requests were sent again, with another key or to another upstream, by pool.",
        each(&pools, |c| c.retries as f64),
    );
    all.histograms(
        "openai_service_lock_acquisition_duration_seconds",
        "Time that requests waited for a lease, those that got none included, by pool.",
        times(&pools, |times| &times.wait),
    );
    all.histograms(
        "openai_lease_hold_seconds",
        "Time that leases were held, by pool.",
        times(&pools, |times| &times.hold),
    );
    all.counters(
        "openai_key_requests_total",
        "Requests by key and outcome; an empty key: they had none.",
        outcomes(&keys),
    );
    all.counters(
        "openai_key_tokens_total",
        "Tokens by key and kind; cached are part of prompt, reasoning of completion.",
        tokens(&keys),
    );
    all.counters(
        "openai_key_cost_dollars_total",
        "Cost of tokens whose model has a price, by key.",
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

impl Snapshot {
    /// The text of [`render`]; `None` when it cannot be made.
    pub fn render(mut self, live: &Live<'_>, service: Option<&str>) -> Option<String> {
        Some(render(&self.board().ok()?, live, service))
    }
}

fn add_http(all: &mut Sheet, board: &Board<'_>) {
    let cells = board.cells.iter().enumerate();
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
        "Time from a request's first byte to the last of its answer, by method and endpoint.",
        used.iter().map(|(labels, cell)| (labels, &cell.duration)),
    );
}

/// The same by endpoint of the API alone, whatever the method.
fn add_api(all: &mut Sheet, board: &Board<'_>) {
    let mut sums = BTreeMap::<&str, Cell>::new();
    for (at, cell) in board.cells.iter().enumerate() {
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
        "Time from a request's first byte to the last of its answer, by endpoint.",
        sums.iter().map(|(labels, cell)| (labels, &cell.duration)),
    );
}

/// Requests by status: those that there were.
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

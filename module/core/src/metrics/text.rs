//! The totals in Prometheus' text format.

use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{TEXT_FORMAT, TextEncoder};

use super::board::{Board, Snapshot, Table};
use super::histogram::Histogram;
use super::http;
use super::record::OUTCOMES;
use super::row::{Counters, Row, Times};
use crate::clients::Limit;
use crate::prices::UNITS_PER_DOLLAR;

/// The type of the text.
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// What a pool holds now.
#[derive(Debug, Clone, Copy)]
pub struct LivePool<'a> {
    /// Its name.
    pub name: &'a str,
    /// Leases.
    pub held: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Slots.
    pub slots: u32,
    /// Nodes of its group that can vote, and all; for pools with locks.
    pub nodes: Option<(u32, u32)>,
}

/// A bound of what a client may use.
#[derive(Debug, Clone, Copy)]
pub struct LiveQuota<'a> {
    /// The client.
    pub service: &'a str,
    /// The bound.
    pub limit: Limit,
    /// How much of it is used.
    pub used: u64,
}

/// What is so at the moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Live<'a> {
    /// The module's version.
    pub version: &'a str,
    /// All pools of the configuration.
    pub pools: &'a [LivePool<'a>],
    /// All quotas.
    pub quotas: &'a [LiveQuota<'a>],
}

/// The labels of a metric, of which there are few.
#[derive(Clone, Copy)]
struct Labels<'a> {
    pairs: [(&'static str, &'a str); 3],
    count: usize,
}

impl<'a> Labels<'a> {
    fn new(name: &'static str, value: &'a str) -> Self {
        Self {
            pairs: [(name, value); 3],
            count: 1,
        }
    }

    fn with(mut self, name: &'static str, value: &'a str) -> Self {
        if let Some(place) = self.pairs.get_mut(self.count) {
            *place = (name, value);
            self.count += 1;
        }
        self
    }
}

fn metric(labels: Labels<'_>) -> Metric {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.into());
        pair.set_value(value.into());
        pair
    };
    Metric::from_label(labels.pairs[..labels.count].iter().map(pair).collect())
}

fn counter(labels: Labels<'_>, value: f64) -> Metric {
    let (mut metric, mut counter) = (metric(labels), Counter::default());
    counter.set_value(value);
    metric.set_counter(counter);
    metric
}

fn gauge(labels: Labels<'_>, value: impl Into<f64>) -> Metric {
    let (mut metric, mut gauge) = (metric(labels), Gauge::default());
    gauge.set_value(value.into());
    metric.set_gauge(gauge);
    metric
}

fn histogram(labels: Labels<'_>, times: &Histogram) -> Metric {
    let bucket = |(bound, count): (u64, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound as f64 / 1e3);
        bucket.set_cumulative_count(count);
        bucket
    };
    let (mut metric, mut histogram) = (metric(labels), prometheus::proto::Histogram::default());
    histogram.set_bucket(times.cumulative().map(bucket).collect());
    histogram.set_sample_count(times.count());
    histogram.set_sample_sum(times.sum_ms() as f64 / 1e3);
    metric.set_histogram(histogram);
    metric
}

/// The families so far.
#[derive(Default)]
struct Families(Vec<MetricFamily>);

impl Families {
    /// Adds a family, if it has anything to tell.
    fn add(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.into());
        family.set_help(help.into());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    fn counters(&mut self, name: &str, help: &str, metrics: impl Iterator<Item = Metric>) {
        self.add(name, help, MetricType::COUNTER, metrics.collect());
    }

    fn gauges(&mut self, name: &str, help: &str, metrics: impl Iterator<Item = Metric>) {
        self.add(name, help, MetricType::GAUGE, metrics.collect());
    }

    fn histograms(&mut self, name: &str, help: &str, metrics: impl Iterator<Item = Metric>) {
        self.add(name, help, MetricType::HISTOGRAM, metrics.collect());
    }
}

/// The labels that name a row.
fn owner(table: Table, row: &Row) -> Labels<'_> {
    let name = row.label.name();
    match table {
        Table::Services => Labels::new("service", name),
        Table::Models => Labels::new("model", name),
        Table::Pools => Labels::new("pool", name),
        Table::Keys => {
            let (pool, key) = name.split_once('/').unwrap_or((name, name));
            Labels::new("pool", pool).with("key", key)
        }
    }
}

impl Board<'_> {
    /// A counter of every row of a table.
    fn each(&self, table: Table, pick: impl Fn(&Counters) -> f64) -> impl Iterator<Item = Metric> {
        self.used(table)
            .map(move |(row, _)| counter(owner(table, row), pick(&row.counters)))
    }

    /// The requests of a table by outcome: those that came about.
    fn outcomes(&self, table: Table) -> impl Iterator<Item = Metric> {
        self.used(table).flat_map(move |(row, _)| {
            let labels = owner(table, row);
            let told = OUTCOMES.into_iter().zip(row.counters.requests);
            // A row of success is there from the start: a rate needs a first value.
            told.filter(|&(outcome, count)| count > 0 || outcome == OUTCOMES[0])
                .map(|(outcome, count)| {
                    counter(labels.with("status", outcome.as_str()), count as f64)
                })
                .collect::<Vec<_>>()
        })
    }

    fn tokens(&self, table: Table) -> impl Iterator<Item = Metric> {
        self.used(table).flat_map(move |(row, _)| {
            let (labels, c) = (owner(table, row), &row.counters);
            let kinds = [
                ("prompt", c.prompt),
                ("completion", c.completion),
                ("cached", c.cached),
                ("reasoning", c.reasoning),
            ];
            let told = kinds.into_iter().enumerate();
            told.filter(|&(at, (_, count))| at < 2 || count > 0)
                .map(|(_, (kind, count))| counter(labels.with("kind", kind), count as f64))
                .collect::<Vec<_>>()
        })
    }

    fn times(&self, table: Table, pick: fn(&Times) -> &Histogram) -> impl Iterator<Item = Metric> {
        let timed = self
            .used(table)
            .filter_map(|(row, times)| Some((row, times?)));
        timed.map(move |(row, times)| histogram(owner(table, row), pick(times)))
    }
}

fn dollars(counters: &Counters) -> f64 {
    counters.cost as f64 / UNITS_PER_DOLLAR as f64
}

/// All totals, and what is so at the moment, as text.
///
/// # Errors
/// When the encoder finds a family that it cannot write.
pub fn render(board: &Board<'_>, live: &Live<'_>) -> Result<String, prometheus::Error> {
    use Table::{Keys, Models, Pools, Services};
    let mut all = Families::default();
    add_http(&mut all, board);
    all.counters(
        "openai_service_requests_total",
        "Requests by service and outcome.",
        board.outcomes(Services),
    );
    all.histograms(
        "openai_service_request_duration_seconds",
        "Time from a request's first byte to the last of its answer, by service.",
        board.times(Services, |times| &times.duration),
    );
    all.counters(
        "openai_service_tokens_total",
        "Tokens by service and kind; cached are part of prompt, reasoning of completion.",
        board.tokens(Services),
    );
    all.counters(
        "openai_service_cost_dollars_total",
        "Cost of tokens whose model has a price, by service.",
        board.each(Services, dollars),
    );
    all.counters(
        "openai_api_calls_total",
        "Requests by model and outcome.",
        board.outcomes(Models),
    );
    all.counters(
        "openai_tokens_used_total",
        "Tokens of prompts and completions by model.",
        board.each(Models, |c| c.prompt.saturating_add(c.completion) as f64),
    );
    all.counters(
        "openai_tokens_total",
        "Tokens by model and kind; cached are part of prompt, reasoning of completion.",
        board.tokens(Models),
    );
    all.counters(
        "openai_tokens_estimated_total",
        "Tokens of prompts and completions that are estimated, by model.",
        board.each(Models, |c| c.estimated as f64),
    );
    all.counters(
        "openai_cost_dollars_total",
        "Cost of tokens by model; a model without a price has none.",
        board.each(Models, dollars),
    );
    all.counters(
        "openai_unpriced_requests_total",
        "Requests that used tokens of a model without a price.",
        board.each(Models, |c| c.unpriced as f64),
    );
    all.histograms(
        "openai_time_to_first_token_seconds",
        "Time from the lease to the first word of a streamed answer, by model.",
        board.times(Models, |times| &times.first_token),
    );
    all.counters(
        "openai_pool_requests_total",
        "Requests by pool and outcome.",
        board.outcomes(Pools),
    );
    all.counters(
        "openai_upstream_attempts_total",
        "Times that requests were sent upstream, by pool.",
        board.each(Pools, |c| c.attempts as f64),
    );
    all.histograms(
        "openai_service_lock_acquisition_duration_seconds",
        "Time that requests waited for a lease, those that got none included, by pool.",
        board.times(Pools, |times| &times.wait),
    );
    all.histograms(
        "openai_lease_hold_seconds",
        "Time that leases were held, by pool.",
        board.times(Pools, |times| &times.hold),
    );
    all.counters(
        "openai_key_requests_total",
        "Requests by key and outcome; an empty key: they had none.",
        board.outcomes(Keys),
    );
    all.counters(
        "openai_key_tokens_total",
        "Tokens by key and kind; cached are part of prompt, reasoning of completion.",
        board.tokens(Keys),
    );
    all.counters(
        "openai_key_cost_dollars_total",
        "Cost of tokens whose model has a price, by key.",
        board.each(Keys, dollars),
    );
    all.counters(
        "openai_key_hold_seconds_total",
        "Time that a key was leased.",
        board.each(Keys, |c| c.hold_ms as f64 / 1e3),
    );
    add_live(&mut all, live);
    TextEncoder::new().encode_to_string(&all.0)
}

impl Snapshot {
    /// The text of [`render`]; `None` when it cannot be made.
    pub fn render(mut self, live: &Live<'_>) -> Option<String> {
        render(&self.board().ok()?, live).ok()
    }
}

fn add_http(all: &mut Families, board: &Board<'_>) {
    let labels =
        |at| Labels::new("method", http::method_of(at)).with("endpoint", http::endpoint_of(at));
    let used = || {
        board
            .cells
            .iter()
            .enumerate()
            .filter(|(_, cell)| cell.duration.count() > 0)
    };
    let by_status = used().flat_map(|(at, cell)| {
        let told = cell
            .statuses
            .iter()
            .enumerate()
            .filter(|&(_, &count)| count > 0);
        told.map(|(status, &count)| {
            let status = http::status_of(status);
            counter(labels(at).with("status", &status), count as f64)
        })
        .collect::<Vec<_>>()
    });
    all.counters(
        "http_requests_total",
        "Requests by method, endpoint and status.",
        by_status,
    );
    all.histograms(
        "http_request_duration_seconds",
        "Time from a request's first byte to the last of its answer, by method and endpoint.",
        used().map(|(at, cell)| histogram(labels(at), &cell.duration)),
    );
}

fn add_live(all: &mut Families, live: &Live<'_>) {
    let mut of = |name: &str, help: &str, pick: fn(&LivePool<'_>) -> Option<u32>| {
        let pools = live.pools.iter();
        let told =
            pools.filter_map(|pool| Some(gauge(Labels::new("pool", pool.name), pick(pool)?)));
        all.gauges(name, help, told);
    };
    of(
        "openai_service_active_locks",
        "Leases that are held now, by pool.",
        |pool| Some(pool.held),
    );
    of(
        "openai_pool_slots",
        "Slots of the keys of a pool.",
        |pool| Some(pool.slots),
    );
    of(
        "openai_pool_waiting",
        "Requests that wait for a lease now, by pool.",
        |pool| Some(pool.waiting),
    );
    of(
        "openai_redlock_nodes_voting",
        "Redis servers that can vote on locks of the pool.",
        |pool| pool.nodes.map(|(voting, _)| voting),
    );
    of(
        "openai_redlock_nodes",
        "Redis servers of the group that the pool is locked on.",
        |pool| pool.nodes.map(|(_, all)| all),
    );
    let mut of = |name: &str, help: &str, amount: fn(&LiveQuota<'_>) -> u64| {
        let told = live.quotas.iter().map(|quota| {
            let limit = &quota.limit;
            let labels = Labels::new("service", quota.service).with("kind", limit.measure());
            gauge(
                labels.with("period", limit.period()),
                limit.shown(amount(quota)),
            )
        });
        all.gauges(name, help, told);
    };
    of(
        "openai_service_quota",
        "What a service may use in the day or month, in UTC; costs in dollars.",
        |quota| quota.limit.most,
    );
    of(
        "openai_service_quota_used",
        "What it has used of that.",
        |quota| quota.used,
    );
    all.gauges(
        "openai_gateway_info",
        "The version of the module.",
        std::iter::once(gauge(Labels::new("version", live.version), 1_u32)),
    );
}

//! Prometheus metrics. Counting is an atomic addition; names and labels are put to it when asked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::state::Mock;

/// What a request asks for, as metrics report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Chat,
    Completions,
    Responses,
    Embeddings,
    Models,
    Audio,
    Images,
    Other,
}

const ROUTES: [&str; 8] = [
    "chat_completions",
    "completions",
    "responses",
    "embeddings",
    "models",
    "audio",
    "images",
    "other",
];

const STATUSES: [u16; 10] = [200, 400, 401, 403, 404, 413, 429, 500, 502, 503];
const OTHER_STATUS: usize = STATUSES.len();

/// Counts of what was answered.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    answers: [[AtomicU64; OTHER_STATUS + 1]; ROUTES.len()],
}

impl Metrics {
    pub(crate) fn count_answer(&self, route: Route, status: u16) {
        let status = STATUSES.iter().position(|known| *known == status);
        let counter = &self.answers[route as usize][status.unwrap_or(OTHER_STATUS)];
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Everything that is counted, in Prometheus' text format.
pub(crate) fn render(mock: Arc<Mock>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All(mock)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct All(Arc<Mock>);

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mock = &self.0;
        let mut answers = encoder.encode_descriptor(
            "mock_answers",
            "Answers sent.",
            None,
            MetricType::Counter,
        )?;
        for (route, statuses) in ROUTES.iter().zip(&mock.metrics.answers) {
            for (index, count) in statuses.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count == 0 {
                    continue;
                }
                let status = STATUSES.get(index);
                let status = status.map_or("other".to_owned(), |status| status.to_string());
                let labels = [("route", (*route).to_owned()), ("status", status)];
                let family = answers.encode_family(&labels)?;
                ConstCounter::new(count).encode(family)?;
            }
        }
        let totals = mock.witness.stats().totals;
        let ledger = mock.witness.ledger();
        let sum = |of: fn(&crate::stats::Spending) -> u64| ledger.values().map(of).sum::<u64>();
        let faults = mock.plan().rules.iter().map(|rule| rule.tally.hits()).sum();
        let counters = [
            ("mock_requests", "Requests that arrived.", totals.requests),
            (
                "mock_requests_aborted",
                "Requests whose client left early.",
                totals.aborted,
            ),
            (
                "mock_requests_refused",
                "Requests refused by a limit of their key.",
                sum(|s| s.refused),
            ),
            (
                "mock_prompt_tokens",
                "Tokens of prompts.",
                sum(|s| s.prompt_tokens),
            ),
            (
                "mock_completion_tokens",
                "Tokens sent.",
                sum(|s| s.completion_tokens),
            ),
            ("mock_chunks", "Chunks sent.", mock.witness.chunks()),
            ("mock_faults", "Faults injected by rules.", faults),
        ];
        for (name, help, count) in counters {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(count).encode(metric)?;
        }
        let gauges = [
            (
                "mock_requests_in_flight",
                "Requests in flight.",
                totals.in_flight,
            ),
            (
                "mock_requests_in_flight_max",
                "The most ever in flight at once.",
                totals.max_in_flight,
            ),
        ];
        for (name, help, value) in gauges {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        Ok(())
    }
}

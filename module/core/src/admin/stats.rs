//! Query and response of `GET /v1/stats`.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::keys::{NAMES, is_name};
use crate::metrics::{Counters, Day, OUTCOMES, StatsRow, StatsSums};
use crate::prices::UNITS_PER_DOLLAR;

/// A parsed query string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsQuery {
    /// The service, if stated.
    pub service: Option<String>,
    /// The first day, if stated.
    pub since: Option<Day>,
}

impl StatsQuery {
    /// Parses the part after the question mark. Unknown parameters are ignored.
    ///
    /// # Errors
    /// When a parameter is repeated or invalid.
    pub fn parse(query: &[u8]) -> Result<Self, Problem> {
        let (mut service, mut since) = (None, None);
        for (name, value) in form_urlencoded::parse(query) {
            let (field, slot) = match &*name {
                "service" => ("service", &mut service),
                "since" => ("since", &mut since),
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(Problem::wrong_value(field, "it is repeated"));
            }
        }
        if service.as_deref().is_some_and(|name| !is_name(name)) {
            let wanted = format!("expected {NAMES}");
            return Err(Problem::wrong_value("service", &wanted));
        }
        let day = |text: String| {
            let wanted = "expected a date, as 2025-08-15, or a time, as 2025-08-15T00:00:00Z";
            Day::parse(&text).ok_or_else(|| Problem::wrong_value("since", wanted))
        };
        Ok(Self {
            service,
            since: since.map(day).transpose()?,
        })
    }
}

/// Tokens by kind.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TokenSums {
    /// Prompt tokens.
    pub prompt: u64,
    /// Completion tokens.
    pub completion: u64,
    /// Cached prompt tokens.
    pub cached: u64,
    /// Reasoning tokens, a part of the completion tokens.
    pub reasoning: u64,
    /// Prompt and completion tokens.
    pub total: u64,
    /// Estimated tokens, a part of the total.
    pub estimated: u64,
}

/// Sums of requests, attempts, tokens, cost and times.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Sums {
    /// Requests of all outcomes.
    pub requests: u64,
    /// Requests by outcome.
    #[schema(example = json!({"success": 41, "aborted": 1}))]
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Attempts, including retries.
    pub attempts: u64,
    /// Tokens by kind.
    #[schema(inline)]
    pub tokens: TokenSums,
    /// Cost in dollars of tokens with a known price; null if tokens were used, but none with a known
    /// price.
    pub cost_dollars: Option<f64>,
    /// Requests that used tokens without a known price.
    pub unpriced_requests: u64,
    /// Total time that requests waited for a key, in seconds.
    pub wait_seconds: f64,
    /// Total time that requests held a key, in seconds.
    pub hold_seconds: f64,
}

impl From<Counters> for Sums {
    fn from(counters: Counters) -> Self {
        let outcomes = OUTCOMES.into_iter().zip(counters.outcomes());
        let is_known = counters.cost > 0 || counters.unpriced == 0;
        Self {
            requests: counters.requests.iter().sum(),
            outcomes: outcomes.map(|(o, count)| (o.as_str(), count)).collect(),
            attempts: counters.attempts,
            tokens: TokenSums {
                prompt: counters.prompt,
                completion: counters.completion,
                cached: counters.cached,
                reasoning: counters.reasoning,
                total: counters.prompt.saturating_add(counters.completion),
                estimated: counters.estimated,
            },
            cost_dollars: is_known.then(|| counters.cost as f64 / UNITS_PER_DOLLAR as f64),
            unpriced_requests: counters.unpriced,
            wait_seconds: counters.wait_ms as f64 / 1e3,
            hold_seconds: counters.hold_ms as f64 / 1e3,
        }
    }
}

/// Sums of a service, over all machines that share stats.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ServiceSums {
    /// Name of the client; empty for requests without a client, `other` for clients for which the
    /// table has no room.
    pub service: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Sums of a model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModelSums {
    /// The model; empty if unknown, `other` for models for which the table has no room.
    pub model: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Sums of a pool.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PoolSums {
    /// The pool.
    pub pool: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Sums of a key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeySums {
    /// The pool.
    pub pool: String,
    /// Id of the key; empty for requests that got no key.
    pub key_id: String,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Number of days of the fixed sums in [`Stats`], including today.
pub const RECENT_DAYS: u32 = 30;

/// Sums since a day.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Stats {
    /// First day of the sums, in UTC: that of the parameter `since`, or the first that is stored.
    #[schema(format = Date, example = "2025-08-15")]
    pub since: String,
    /// Cost of the last 30 days in dollars, including today; null in the same cases as
    /// `cost_dollars`. Like
    /// `total_tokens` and `request_count`, it covers the listed services, and does not depend on
    /// `since`.
    pub total_cost: Option<f64>,
    /// Prompt and completion tokens of the last 30 days.
    pub total_tokens: u64,
    /// Requests of the last 30 days.
    pub request_count: u64,
    /// Sums of all listed services.
    pub total: Sums,
    /// Part of `total` that other machines have counted; null if there is none.
    pub elsewhere: Option<Sums>,
    /// Sums by service: all services, or only the requested service or that of the token.
    pub services: Vec<ServiceSums>,
    /// Sums by model; null unless all services are listed.
    pub models: Option<Vec<ModelSums>>,
    /// Sums by pool; null unless all services are listed.
    pub pools: Option<Vec<PoolSums>>,
    /// Sums by key; null unless all services are listed.
    pub keys: Option<Vec<KeySums>>,
    /// Current time.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

impl Stats {
    /// Builds the response for all services or for one. `recent` contains the sums of the last
    /// [`RECENT_DAYS`] days.
    #[must_use]
    pub fn of(
        figures: &StatsSums,
        recent: &StatsSums,
        service: Option<&str>,
        timestamp: String,
    ) -> Self {
        let add = |sum: Counters, line: &StatsRow| sum.plus(&line.sum());
        let recent: Sums = recent.services.iter().fold(Counters::default(), add).into();
        let nothing = StatsRow {
            name: service.unwrap_or_default().to_owned(),
            ..StatsRow::default()
        };
        let mut services: Vec<&StatsRow> = figures.services.iter().collect();
        if service.is_some() && services.is_empty() {
            services.push(&nothing);
        }
        let lines = services.iter().copied();
        let total = lines.clone().fold(Counters::default(), add);
        let elsewhere = lines.fold(Counters::default(), |sum, line| sum.plus(&line.elsewhere));
        let by_service = |line: &&StatsRow| ServiceSums {
            service: line.name.clone(),
            sums: line.sum().into(),
        };
        let by_model = |line: &StatsRow| ModelSums {
            model: line.name.clone(),
            sums: line.sum().into(),
        };
        let by_pool = |line: &StatsRow| PoolSums {
            pool: line.name.clone(),
            sums: line.sum().into(),
        };
        let by_key = |line: &StatsRow| {
            let (pool, key) = line
                .name
                .split_once('/')
                .unwrap_or((&line.name, &line.name));
            KeySums {
                pool: pool.to_owned(),
                key_id: key.to_owned(),
                sums: line.sum().into(),
            }
        };
        let all = service.is_none();
        Self {
            since: figures.since.to_string(),
            total_cost: recent.cost_dollars,
            total_tokens: recent.tokens.total,
            request_count: recent.requests,
            total: total.into(),
            elsewhere: (elsewhere != Counters::default()).then(|| elsewhere.into()),
            services: services.iter().map(by_service).collect(),
            models: all.then(|| figures.models.iter().map(by_model).collect()),
            pools: all.then(|| figures.pools.iter().map(by_pool).collect()),
            keys: all.then(|| figures.keys.iter().map(by_key).collect()),
            timestamp,
        }
    }
}

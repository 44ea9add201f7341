//! `GET /v1/stats`: what is asked, and what is answered.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::keys::is_name;
use crate::metrics::{Counters, Day, Figures, Line, OUTCOMES};
use crate::prices::UNITS_PER_DOLLAR;

/// What a request asks of the totals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsQuery {
    /// Of which service.
    pub service: Option<String>,
    /// From which day on.
    pub since: Option<Day>,
}

impl StatsQuery {
    /// Reads a query, what follows the question mark. Unknown parameters are ignored.
    ///
    /// # Errors
    /// Which parameter is wrong.
    pub fn parse(query: &[u8]) -> Result<Self, Problem> {
        let (mut service, mut since) = (None, None);
        for (name, value) in form_urlencoded::parse(query) {
            let (field, slot) = match &*name {
                "service" => ("service", &mut service),
                "since" => ("since", &mut since),
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(Problem::wrong_value(field, "it stands twice"));
            }
        }
        if service.as_deref().is_some_and(|name| !is_name(name)) {
            let wanted = "expected 1 to 64 of the characters A-Z a-z 0-9 . _ -";
            return Err(Problem::wrong_value("service", wanted));
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
    /// Those of prompts.
    pub prompt: u64,
    /// Those of completions.
    pub completion: u64,
    /// Those of prompts that the provider had cached.
    pub cached: u64,
    /// Those of completions that were reasoning.
    pub reasoning: u64,
    /// Prompts and completions.
    pub total: u64,
    /// How many of the total are estimated.
    pub estimated: u64,
}

/// What has been counted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Sums {
    /// Requests, whatever came of them.
    pub requests: u64,
    /// The same by outcome.
    #[schema(example = json!({"success": 41, "aborted": 1}))]
    pub outcomes: BTreeMap<&'static str, u64>,
    /// How often requests were sent, which is more where they were sent again.
    pub attempts: u64,
    /// Tokens by kind.
    #[schema(inline)]
    pub tokens: TokenSums,
    /// What is known of the cost, in dollars; null when nothing is.
    pub cost_dollars: Option<f64>,
    /// How many requests have used tokens whose price is not known.
    pub unpriced_requests: u64,
    /// How long requests have waited for a key, in seconds, all together.
    pub wait_seconds: f64,
    /// How long they have held one.
    pub hold_seconds: f64,
}

impl From<&Counters> for Sums {
    fn from(counters: &Counters) -> Self {
        let outcomes = OUTCOMES.into_iter().zip(counters.requests);
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

/// The sums of a service, on all machines that tell each other.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ServiceSums {
    /// The client's name; empty for requests without one, `other` for those that there
    /// was no room for.
    pub service: String,
    /// Its sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// The sums of a model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ModelSums {
    /// The model; empty where none is known, `other` for those without a place of their own.
    pub model: String,
    /// Its sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// The sums of a pool.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PoolSums {
    /// The pool.
    pub pool: String,
    /// Its sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// The sums of a key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeySums {
    /// The pool.
    pub pool: String,
    /// The name of the key; empty for requests without one.
    pub key_id: String,
    /// Its sums.
    #[serde(flatten)]
    pub sums: Sums,
}

/// How many days the sums of [`Stats`] are of that no one asks for, today included.
pub const RECENT_DAYS: u32 = 30;

/// What has been counted since a day.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Stats {
    /// The first day that is counted, in UTC: that of `since`, or the first that is kept.
    #[schema(format = Date, example = "2025-08-15")]
    pub since: String,
    /// What is known of the cost of the last 30 days, today included, in dollars; null when
    /// nothing is. This and the next two are of the services that are listed, whatever `since`
    /// says.
    pub total_cost: Option<f64>,
    /// Prompt and completion tokens of the last 30 days.
    pub total_tokens: u64,
    /// Requests of the last 30 days.
    pub request_count: u64,
    /// The sums of all services that are listed.
    pub total: Sums,
    /// How much of the total other machines have counted; null if nothing.
    pub elsewhere: Option<Sums>,
    /// By service: just that which was asked for, or whose token it is.
    pub services: Vec<ServiceSums>,
    /// By model. Only where all services are.
    pub models: Option<Vec<ModelSums>>,
    /// By pool.
    pub pools: Option<Vec<PoolSums>>,
    /// By key.
    pub keys: Option<Vec<KeySums>>,
    /// Now.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

impl Stats {
    /// The answer: of all services, or of one; beside it what `recent` has of the last
    /// [`RECENT_DAYS`].
    #[must_use]
    pub fn of(
        figures: &Figures,
        recent: &Figures,
        service: Option<&str>,
        timestamp: String,
    ) -> Self {
        let add = |sum: Counters, line: &Line| sum.plus(&line.here).plus(&line.elsewhere);
        let recent: Sums = (&recent.services.iter().fold(Counters::default(), add)).into();
        let nothing = Line {
            name: service.unwrap_or_default().to_owned(),
            ..Line::default()
        };
        let mut services: Vec<&Line> = figures.services.iter().collect();
        if service.is_some() && services.is_empty() {
            services.push(&nothing);
        }
        let sum = |of: fn(&Line) -> &Counters| {
            let add = |sum: Counters, line: &&Line| sum.plus(of(line));
            services.iter().fold(Counters::default(), add)
        };
        let (here, elsewhere) = (sum(|line| &line.here), sum(|line| &line.elsewhere));
        let by_service = |line: &&Line| ServiceSums {
            service: line.name.clone(),
            sums: (&line.here.plus(&line.elsewhere)).into(),
        };
        let by_model = |line: &Line| ModelSums {
            model: line.name.clone(),
            sums: (&line.here.plus(&line.elsewhere)).into(),
        };
        let by_pool = |line: &Line| PoolSums {
            pool: line.name.clone(),
            sums: (&line.here.plus(&line.elsewhere)).into(),
        };
        let by_key = |line: &Line| {
            let (pool, key) = line
                .name
                .split_once('/')
                .unwrap_or((&line.name, &line.name));
            KeySums {
                pool: pool.to_owned(),
                key_id: key.to_owned(),
                sums: (&line.here.plus(&line.elsewhere)).into(),
            }
        };
        let all = service.is_none();
        Self {
            since: figures.since.to_string(),
            total_cost: recent.cost_dollars,
            total_tokens: recent.tokens.total,
            request_count: recent.requests,
            total: (&here.plus(&elsewhere)).into(),
            elsewhere: (elsewhere != Counters::default()).then(|| (&elsewhere).into()),
            services: services.iter().map(by_service).collect(),
            models: all.then(|| figures.models.iter().map(by_model).collect()),
            pools: all.then(|| figures.pools.iter().map(by_pool).collect()),
            keys: all.then(|| figures.keys.iter().map(by_key).collect()),
            timestamp,
        }
    }
}

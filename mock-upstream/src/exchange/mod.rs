//! One request from its arrival to its answer.

mod reply;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::Guard;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, header};
use bytes::Bytes;

use crate::alarm::Alarm;
use crate::connection::Peer;
use crate::error::ApiError;
use crate::fault::Fault;
use crate::ident;
use crate::keys::{KeyRule, Rates};
use crate::latency::Latency;
use crate::metrics::Route;
use crate::pace::{Load, Tempo};
use crate::replay::Recording;
use crate::rule::Subject;
use crate::state::{Mock, Plan};
use crate::stats::Spending;
use crate::witness::InFlight;

/// A request under `/v1/`, counted as in flight until its answer has been given away.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) mock: Arc<Mock>,
    pub(crate) plan: Guard<Arc<Plan>>,
    route: Route,
    in_flight: InFlight,
    number: u64,
    pub(crate) arrived: Instant,
    /// The same since 1970.
    pub(crate) at: Duration,
    peer: Option<Peer>,
    pub(crate) request: Parts,
    /// As much of its body as was kept.
    pub(crate) body: Bytes,
    pub(crate) body_bytes: u64,
    key_rule: KeyRule,
    /// Unless it is the usual one.
    fault: Option<Box<Fault>>,
    said: String,
    rates: Rates,
}

/// Why a request gets no answer of its route.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It gets an error instead.
    Error(Box<ApiError>),
    /// It never came whole; most likely the client left.
    Incomplete,
    /// It gets nothing: the connection is reset, or closed in order.
    Break { reset: bool },
    /// It gets an answer that was recorded.
    Replay(Box<Recording>),
}

impl<E: Into<ApiError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Error(Box::new(error.into()))
    }
}

impl Exchange {
    /// Counts the arrival of a request. What is decided of it is moved about a lot, hence the box.
    pub(crate) fn begin(mock: Arc<Mock>, request: Parts, peer: Option<Peer>) -> Box<Self> {
        let authorization = request.headers.get(header::AUTHORIZATION);
        let (key, arrived) = (authorization.map(HeaderValue::as_bytes), Instant::now());
        let mut in_flight = mock.witness.enter(key, peer.clone(), arrived);
        if request.method == Method::HEAD {
            // The server drops the body of such an answer unread.
            in_flight.finish();
        }
        let plan = mock.plan();
        Box::new(Self {
            route: Route::Other,
            in_flight,
            number: mock.next_number(),
            mock,
            arrived,
            at: ident::since_1970(),
            peer,
            request,
            body: Bytes::new(),
            body_bytes: 0,
            key_rule: KeyRule::default(),
            fault: None,
            said: String::new(),
            rates: Rates::default(),
            plan,
        })
    }

    pub(crate) fn set_route(&mut self, route: Route) {
        self.route = route;
    }

    /// What is asked of the answer.
    pub(crate) fn fault(&self) -> &Fault {
        self.fault.as_deref().unwrap_or(&self.plan.usual)
    }

    /// Finds out what is asked of the answer, and looks for tokens that must not be there. To be
    /// called when the request has been read to its end.
    pub(crate) fn inspect(&mut self, model: Option<&str>) -> Result<(), Refusal> {
        let request = &self.request;
        let subject = Subject {
            path: request.uri.path(),
            key: self.in_flight.key,
            model,
        };
        let asked = self.mock.fault_for(&self.plan, subject, &request.headers);
        (self.fault, self.said) = asked?;
        let scenario = &self.plan.scenario;
        let mut denied = scenario.deny_tokens.iter().chain(&self.fault().deny_token);
        if denied.any(|token| token.occurs_in(&request.headers)) {
            self.mock.witness.count_forbidden_token();
            return Err(ApiError::forbidden_token().into());
        }
        if scenario.has_key_rules() {
            self.key_rule = scenario.key_rule(self.in_flight.key);
        }
        let bearer = request.headers.get(header::AUTHORIZATION);
        let bearer = bearer.is_some_and(|value| value.as_bytes().starts_with(b"Bearer "));
        if self.fault().strict == Some(true) && !bearer {
            return Err(ApiError::no_key().into());
        }
        Ok(())
    }

    /// Lets happen what comes before an answer of so many tokens: a wait, a limit, an end, an
    /// error, an answer that was recorded.
    pub(crate) async fn screen(
        &mut self,
        body: &[u8],
        model: &str,
        prompt_tokens: u64,
        completion_tokens: u64,
    ) -> Result<(), Refusal> {
        if let Some(delay) = self.fault().header_delay {
            let tempo = self.tempo();
            Alarm::after(tempo.draw(delay, &mut tempo.rng())).await;
        }
        for (after, reset) in [
            (self.fault().reset_after, true),
            (self.fault().close_after, false),
        ] {
            if after == Some(0) {
                return Err(Refusal::Break { reset });
            }
        }
        let cost = prompt_tokens.saturating_add(completion_tokens);
        self.admit(model, cost)?;
        self.in_flight.spending = Spending {
            admitted: 1,
            prompt_tokens,
            ..Spending::default()
        };
        if self.fault().is_error() {
            // As with the real API, errors cost nothing.
            self.in_flight.spending.prompt_tokens = 0;
            let mut error = match (self.fault().error, self.fault().status) {
                (Some(name), _) => ApiError::named(name),
                (None, status) => ApiError::of_status(status.unwrap_or_default()),
            };
            error.status = self.fault().status.unwrap_or(error.status);
            error.retry_after = self.fault().retry_after.or(error.retry_after);
            error.should_retry = self.fault().should_retry;
            return Err(Refusal::Error(Box::new(error)));
        }
        if let Some(replay) = &self.mock.replay {
            let request = &self.request;
            let target = request.uri.path_and_query();
            let target = target.map_or("", |target| target.as_str());
            if let Some(recording) = replay.answer(request.method.as_str(), target, body) {
                return Err(Refusal::Replay(Box::new(recording.clone())));
            }
        }
        self.in_flight.spending.completion_tokens = completion_tokens;
        Ok(())
    }

    fn admit(&mut self, model: &str, cost: u64) -> Result<(), Refusal> {
        let mut rule = self.key_rule;
        let reported = self.fault().rate_headers;
        if rule.is_empty() && reported != Some(true) {
            return Ok(());
        }
        if rule.rpm.is_none() && rule.tpm.is_none() && reported == Some(true) {
            (rule.rpm, rule.tpm) = (Some(UNLIMITED_RPM), Some(UNLIMITED_TPM));
        }
        let name = self.in_flight.key;
        let admitted = self
            .mock
            .keys
            .admit(name, rule, self.mock.clock.now(), cost, model);
        let (rates, refused) = match admitted {
            Ok(rates) => (rates, None),
            Err(denied) => (denied.rates, Some(denied.error)),
        };
        if reported != Some(false) {
            self.rates = rates;
        }
        match refused {
            Some(error) => {
                self.in_flight.spending.refused = 1;
                Err(Refusal::Error(Box::new(error)))
            }
            None => Ok(()),
        }
    }

    fn tempo(&self) -> Tempo {
        let scenario = &self.plan.scenario;
        Tempo {
            first: self.fault().first_token.unwrap_or(Latency::ZERO),
            between: self.fault().delay.unwrap_or(Latency::ZERO),
            slow: self.key_rule.slow.unwrap_or(1.0),
            load: scenario.double_at.map(|double_at| Load {
                witness: Arc::clone(&self.mock.witness),
                double_at: double_at.get(),
            }),
            seed: scenario.seed ^ self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }
}

/// The limits that are reported when there are none.
const UNLIMITED_RPM: u64 = 1_000_000_000;
const UNLIMITED_TPM: u64 = 1_000_000_000_000;

//! What is about the mock and not about the API; never counted.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json as value};

use crate::duration::parse_duration;
use crate::error::ApiError;
use crate::metrics;
use crate::routes::{json, refuse};
use crate::rule::{LiveRule, Rule};
use crate::scenario::{Scenario, ScenarioError};
use crate::state::Mock;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn health() -> Response {
    json(StatusCode::OK, r#"{"status":"ok"}"#)
}

pub(super) async fn stats(State(mock): State<Arc<Mock>>) -> Response {
    shown(&mock.witness.stats())
}

pub(super) async fn ledger(State(mock): State<Arc<Mock>>) -> Response {
    shown(&value!({"keys": mock.witness.ledger()}))
}

pub(super) async fn requests(State(mock): State<Arc<Mock>>) -> Response {
    let entries = mock.journal.entries();
    let entries: Vec<_> = entries.iter().map(|entry| &**entry).collect();
    #[derive(Serialize)]
    struct Requests<T> {
        requests: Vec<T>,
    }
    shown(&Requests { requests: entries })
}

pub(super) async fn reset(State(mock): State<Arc<Mock>>) -> Response {
    mock.reset();
    json(StatusCode::OK, r#"{"status":"reset"}"#)
}

pub(super) async fn metrics(State(mock): State<Arc<Mock>>) -> Response {
    match metrics::render(mock) {
        Ok(text) => {
            let mut response = json(StatusCode::OK, text);
            let content_type = HeaderValue::from_static(OPEN_METRICS);
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, content_type);
            response
        }
        Err(_) => refuse(&ApiError::of_status(StatusCode::INTERNAL_SERVER_ERROR)),
    }
}

pub(super) async fn scenario(State(mock): State<Arc<Mock>>) -> Response {
    shown(&described(&mock))
}

/// Puts a scenario, in TOML or JSON, in the place of the one in force.
pub(super) async fn put_scenario(State(mock): State<Arc<Mock>>, body: Bytes) -> Response {
    let read = match std::str::from_utf8(&body) {
        _ if body.trim_ascii_start().starts_with(b"{") => Scenario::from_json(&body),
        Ok(text) => Scenario::from_toml(text),
        Err(error) => Err(ScenarioError(error.to_string())),
    };
    match read {
        Ok(scenario) => {
            mock.replace(scenario);
            shown(&described(&mock))
        }
        Err(error) => refuse(&ApiError::bad_scenario(error.to_string())),
    }
}

/// Changes what a JSON object names.
pub(super) async fn patch_scenario(State(mock): State<Arc<Mock>>, body: Bytes) -> Response {
    match mock.change(|scenario| scenario.patch_json(&body)) {
        Ok(()) => shown(&described(&mock)),
        Err(error) => refuse(&ApiError::bad_scenario(error.to_string())),
    }
}

pub(super) async fn faults(State(mock): State<Arc<Mock>>) -> Response {
    shown(&value!({"faults": described_rules(&mock)}))
}

/// Adds a fault, or a list of them.
pub(super) async fn add_faults(State(mock): State<Arc<Mock>>, body: Bytes) -> Response {
    let one = !body.trim_ascii_start().starts_with(b"[");
    let rules = if one {
        serde_json::from_slice::<Rule>(&body).map(|rule| vec![rule])
    } else {
        serde_json::from_slice(&body)
    };
    match rules {
        Ok(rules) => {
            mock.add_rules(rules);
            shown(&value!({"faults": described_rules(&mock)}))
        }
        Err(error) => refuse(&ApiError::bad_scenario(error.to_string())),
    }
}

/// Removes the faults that were added.
pub(super) async fn remove_faults(State(mock): State<Arc<Mock>>) -> Response {
    mock.remove_added_rules();
    shown(&value!({"faults": described_rules(&mock)}))
}

pub(super) async fn clock(State(mock): State<Arc<Mock>>) -> Response {
    shown(&value!({"now_ms": mock.clock.now().as_millis() as u64}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance: String,
}

/// Puts the clock of the limits forward.
pub(super) async fn advance_clock(State(mock): State<Arc<Mock>>, body: Bytes) -> Response {
    let read = serde_json::from_slice(&body).map_err(|error| error.to_string());
    let time = read.and_then(|Advance { advance }| {
        parse_duration(&advance).map_err(|error| error.to_string())
    });
    match time {
        Ok(time) => {
            mock.clock.advance(time);
            clock(State(mock)).await
        }
        Err(message) => refuse(&ApiError::bad_scenario(message)),
    }
}

fn described(mock: &Mock) -> Value {
    let plan = mock.plan();
    let said = plan.scenario.said.iter();
    let settings: Map<String, Value> = said
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    let keys = plan.scenario.keys.iter().map(|(name, _)| name.to_string());
    value!({
        "settings": settings,
        "keys": keys.collect::<Vec<_>>(),
        "faults": described_rules(mock),
        "file_error": mock.file_error().map(|error| error.to_string()),
    })
}

fn described_rules(mock: &Mock) -> Vec<Value> {
    let plan = mock.plan();
    let describe = |live: &std::sync::Arc<LiveRule>| {
        let said = live.rule.said();
        let said: Map<String, Value> = said
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        value!({"fault": said, "seen": live.tally.seen(), "hits": live.tally.hits()})
    };
    plan.rules.iter().map(describe).collect()
}

fn shown(what: &impl Serialize) -> Response {
    // Maps with texts as keys always serialize.
    json(StatusCode::OK, serde_json::to_vec(what).unwrap_or_default())
}

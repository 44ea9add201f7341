//! The mock's paths.

mod chat;
mod control;
mod echo;
mod intake;
mod models;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get, post};

use crate::error::ApiError;
use crate::scenario::Scenario;
use crate::script::Script;
use crate::witness::Witness;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Mock {
    pub(crate) scenario: Scenario,
    pub(crate) script: Arc<Script>,
    pub(crate) witness: Arc<Witness>,
}

impl Mock {
    pub(crate) fn new(scenario: Scenario) -> Arc<Self> {
        let script = Arc::new(Script::new(&scenario.text));
        let witness = Arc::new(Witness::new(scenario.slots));
        Arc::new(Self {
            scenario,
            script,
            witness,
        })
    }
}

/// The whole mock as a router with statistics of its own.
///
/// Served by a [`Server`](crate::Server) it can do all it promises; served by anything else, a
/// reset is an orderly close, and a client that leaves is counted when the server notices.
pub fn app(scenario: Scenario) -> Router {
    router(Mock::new(scenario))
}

pub(crate) fn router(mock: Arc<Mock>) -> Router {
    Router::new()
        .route("/health", get(control::health))
        .route("/__mock/stats", get(control::stats))
        .route("/__mock/reset", post(control::reset))
        .route(
            "/v1/chat/completions",
            post(chat::completions).fallback(echo::echo),
        )
        .route("/v1/models", get(models::list).fallback(echo::echo))
        .route("/v1/", any(echo::echo))
        .route("/v1/{*path}", any(echo::echo))
        .fallback(unknown_url)
        .with_state(mock)
}

async fn unknown_url(State(_): State<Arc<Mock>>, request: Request) -> Response {
    let error = ApiError::unknown_url(request.method().as_str(), request.uri().path());
    json(error.status, error.to_json())
}

fn json(status: StatusCode, json: impl Into<Body>) -> Response {
    let mut response = Response::new(json.into());
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

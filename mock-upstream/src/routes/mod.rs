//! The mock's paths.

mod audio;
mod chat;
mod completions;
mod control;
mod echo;
mod embeddings;
mod images;
mod intake;
mod models;
mod responses;

pub(crate) use chat::{chat, is_chat};
pub(crate) use intake::Arrived;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get, post};

use crate::clock::Clock;
use crate::error::ApiError;
use crate::headers;
use crate::scenario::Scenario;
use crate::state::Mock;

/// The whole mock as a router with statistics of its own.
///
/// Served by a [`Server`](crate::Server) it can do all it promises; served by anything else, a
/// reset is an orderly close, and a client that leaves is counted when the server notices.
pub fn app(scenario: Scenario) -> Router {
    router(Mock::new(scenario, Clock::real(), None))
}

pub(crate) fn router(mock: Arc<Mock>) -> Router {
    Router::new()
        .route("/health", get(control::health))
        .route("/metrics", get(control::metrics))
        .merge(api())
        .merge(admin())
        .fallback(unknown_url)
        .with_state(mock)
}

fn api() -> Router<Arc<Mock>> {
    Router::new()
        .route(chat::PATH, post(chat::post).fallback(echo::echo))
        .route(
            "/v1/completions",
            post(completions::post).fallback(echo::echo),
        )
        .route("/v1/responses", post(responses::post).fallback(echo::echo))
        .route(
            "/v1/embeddings",
            post(embeddings::post).fallback(echo::echo),
        )
        .route("/v1/models", get(models::list).fallback(echo::echo))
        .route("/v1/models/{id}", get(models::one).fallback(echo::echo))
        .route(
            "/v1/audio/transcriptions",
            post(audio::transcribe).fallback(echo::echo),
        )
        .route(
            "/v1/audio/translations",
            post(audio::transcribe).fallback(echo::echo),
        )
        .route(
            "/v1/images/generations",
            post(images::generate).fallback(echo::echo),
        )
        .route("/v1/", any(echo::echo))
        .route("/v1/{*path}", any(echo::echo))
}

fn admin() -> Router<Arc<Mock>> {
    let scenario = get(control::scenario)
        .put(control::put_scenario)
        .patch(control::patch_scenario);
    let faults = get(control::faults)
        .post(control::add_faults)
        .delete(control::remove_faults);
    Router::new()
        .route("/__mock/stats", get(control::stats))
        .route("/__mock/ledger", get(control::ledger))
        .route("/__mock/requests", get(control::requests))
        .route("/__mock/reset", post(control::reset))
        .route("/__mock/scenario", scenario)
        .route("/__mock/faults", faults)
        .route(
            "/__mock/clock",
            get(control::clock).post(control::advance_clock),
        )
}

async fn unknown_url(State(_): State<Arc<Mock>>, request: Request) -> Response {
    refuse(&ApiError::unknown_url(
        request.method().as_str(),
        request.uri().path(),
    ))
}

fn refuse(error: &ApiError) -> Response {
    json(error.status, error.to_json())
}

fn json(status: StatusCode, json: impl Into<Body>) -> Response {
    let mut response = Response::new(json.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, headers::JSON);
    response
}

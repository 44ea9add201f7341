//! What is about the mock and not about the API; never counted.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::routes::{Mock, json};

pub(super) async fn health() -> Response {
    json(StatusCode::OK, r#"{"status":"ok"}"#)
}

pub(super) async fn stats(State(mock): State<Arc<Mock>>) -> Response {
    // Maps of strings to numbers always serialize.
    json(
        StatusCode::OK,
        serde_json::to_vec(&mock.witness.stats()).unwrap_or_default(),
    )
}

pub(super) async fn reset(State(mock): State<Arc<Mock>>) -> Response {
    mock.witness.reset();
    json(StatusCode::OK, r#"{"status":"reset"}"#)
}

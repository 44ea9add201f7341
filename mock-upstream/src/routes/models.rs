//! `GET /v1/models`.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;

use crate::answer::quoted;
use crate::error::ApiError;
use crate::metrics::Route;
use crate::routes::intake::serve_any;
use crate::state::Mock;

pub(super) async fn list(State(mock): State<Arc<Mock>>, request: Request) -> Response {
    match serve_any(mock, request, Route::Models).await {
        Ok((exchange, _, _)) => {
            let models = exchange.plan.scenario.models.iter().map(|id| model(id));
            let models: Vec<String> = models.collect();
            let list = format!("{{\"object\":\"list\",\"data\":[{}]}}", models.join(","));
            exchange.json(list)
        }
        Err(response) => response,
    }
}

pub(super) async fn one(
    State(mock): State<Arc<Mock>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    match serve_any(mock, request, Route::Models).await {
        Ok((exchange, _, _)) if exchange.plan.scenario.models.contains(&id) => {
            exchange.json(model(&id))
        }
        Ok((exchange, _, _)) => exchange.refuse(ApiError::unknown_model(&id).into()),
        Err(response) => response,
    }
}

fn model(id: &str) -> String {
    let id = quoted(id);
    format!("{{\"id\":{id},\"object\":\"model\",\"created\":1686935002,\"owned_by\":\"openai\"}}")
}

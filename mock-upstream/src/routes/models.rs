//! `GET /v1/models`.

use axum::extract::Path;
use axum::response::Response;

use crate::answer::quoted;
use crate::body::Reply;
use crate::error::ApiError;
use crate::metrics::Route;
use crate::routes::intake::{Arrived, serve_any};

pub(super) async fn list(arrived: Arrived) -> Response<Reply> {
    match serve_any(arrived, Route::Models).await {
        Ok(exchange) => {
            let models = exchange.plan.scenario.models.iter().map(|id| model(id));
            let models: Vec<String> = models.collect();
            let list = format!("{{\"object\":\"list\",\"data\":[{}]}}", models.join(","));
            exchange.json(list)
        }
        Err(refused) => refused.answer(),
    }
}

pub(super) async fn one(Path(id): Path<String>, arrived: Arrived) -> Response<Reply> {
    match serve_any(arrived, Route::Models).await {
        Ok(exchange) if exchange.plan.scenario.models.contains(&id) => exchange.json(model(&id)),
        Ok(exchange) => exchange.refuse(ApiError::unknown_model(&id).into()),
        Err(refused) => refused.answer(),
    }
}

fn model(id: &str) -> String {
    let id = quoted(id);
    format!("{{\"id\":{id},\"object\":\"model\",\"created\":1686935002,\"owned_by\":\"openai\"}}")
}

//! `GET /v1/models`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::Response;

use crate::exchange::{Exchange, Refusal};
use crate::routes::{Mock, intake};

const MODELS: &str = concat!(
    r#"{"object":"list","data":["#,
    r#"{"id":"gpt-3.5-turbo","object":"model","created":1677610602,"owned_by":"openai"},"#,
    r#"{"id":"gpt-4o","object":"model","created":1715367049,"owned_by":"system"},"#,
    r#"{"id":"gpt-4o-mini","object":"model","created":1721172741,"owned_by":"system"}"#,
    "]}"
);

pub(super) async fn list(State(mock): State<Arc<Mock>>, request: Request) -> Response {
    let (request, body) = request.into_parts();
    let exchange = Exchange::begin(&mock, &request);
    match receive(&mock, &exchange, &request, body).await {
        Ok(()) => exchange.json(MODELS),
        Err(refusal) => exchange.refuse(refusal),
    }
}

async fn receive(
    mock: &Mock,
    exchange: &Exchange,
    request: &Parts,
    body: Body,
) -> Result<(), Refusal> {
    intake::count(body).await?;
    exchange.screen(mock, request).await?;
    Ok(())
}

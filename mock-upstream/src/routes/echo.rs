//! Every other path under `/v1/`: tells what arrived.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header, request::Parts};
use axum::response::Response;
use serde::Serialize;

use crate::exchange::{Exchange, Refusal};
use crate::routes::{Mock, intake};

#[derive(Serialize)]
struct Echo<'a> {
    object: &'static str,
    method: &'a str,
    path: &'a str,
    body_bytes: u64,
    content_type: Option<&'a str>,
}

pub(super) async fn echo(State(mock): State<Arc<Mock>>, request: Request) -> Response {
    let (request, body) = request.into_parts();
    let exchange = Exchange::begin(&mock, &request);
    match receive(&mock, &exchange, &request, body).await {
        Ok(json) => exchange.json(json),
        Err(refusal) => exchange.refuse(refusal),
    }
}

async fn receive(
    mock: &Mock,
    exchange: &Exchange,
    request: &Parts,
    body: Body,
) -> Result<Vec<u8>, Refusal> {
    let body_bytes = intake::count(body).await?;
    exchange.screen(mock, request).await?;
    let content_type = request
        .headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::to_str);
    let echo = Echo {
        object: "mock.echo",
        method: request.method.as_str(),
        path: request.uri.path(),
        body_bytes,
        content_type: content_type.and_then(Result::ok),
    };
    // Strings and numbers always serialize.
    Ok(serde_json::to_vec(&echo).unwrap_or_default())
}

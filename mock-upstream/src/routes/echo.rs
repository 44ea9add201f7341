//! Every other path under `/v1/`: reports what arrived.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Serialize;

use crate::body::Reply;
use crate::metrics::Route;
use crate::routes::intake::{Arrived, serve_any};

#[derive(Serialize)]
struct Echo<'a> {
    object: &'static str,
    method: &'a str,
    path: &'a str,
    body_bytes: u64,
    content_type: Option<&'a str>,
}

pub(super) async fn echo(arrived: Arrived) -> Response<Reply> {
    let exchange = match serve_any(arrived, Route::Other).await {
        Ok(arrived) => arrived,
        Err(refused) => return refused.answer(),
    };
    let request = &exchange.request;
    let content_type = request
        .headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::to_str);
    let echo = Echo {
        object: "mock.echo",
        method: request.method.as_str(),
        path: request.uri.path(),
        body_bytes: exchange.body_bytes,
        content_type: content_type.and_then(Result::ok),
    };
    // Strings and numbers always serialize.
    let json = serde_json::to_vec(&echo).unwrap_or_default();
    exchange.json(json)
}

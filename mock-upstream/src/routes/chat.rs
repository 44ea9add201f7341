//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;

use crate::answer::completion;
use crate::chunks::Chunks;
use crate::exchange::{Exchange, Refusal};
use crate::fault::Fault;
use crate::head::ChatHead;
use crate::ident;
use crate::pace::Pace;
use crate::routes::{Mock, intake};

pub(super) async fn completions(State(mock): State<Arc<Mock>>, request: Request) -> Response {
    let (request, body) = request.into_parts();
    let exchange = Exchange::begin(&mock, &request);
    match receive(&mock, &exchange, &request, body).await {
        Ok((body, fault)) => answer(&mock, exchange, &body, &fault),
        Err(refusal) => exchange.refuse(refusal),
    }
}

async fn receive(
    mock: &Mock,
    exchange: &Exchange,
    request: &Parts,
    body: Body,
) -> Result<(Bytes, Fault), Refusal> {
    let body = intake::keep(body).await?;
    let fault = exchange.screen(mock, request).await?;
    Ok((body, fault))
}

fn answer(mock: &Mock, exchange: Exchange, body: &[u8], fault: &Fault) -> Response {
    let head = ChatHead::read(body);
    let words = mock.script.count(fault.words);
    let (id, created) = (ident::completion_id(), ident::created());
    if !head.stream {
        return exchange.json(completion(&mock.script, &head, words, &id, created));
    }
    let delay = fault.delay.unwrap_or(mock.scenario.delay);
    let script = Arc::clone(&mock.script);
    let chunks = Chunks::new(script, &head, words, &id, created, !delay.is_zero());
    exchange.stream(chunks, Pace::new(delay), fault)
}

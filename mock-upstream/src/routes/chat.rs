//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;

use crate::chunks::Chunks;
use crate::events::Events;
use crate::ident;
use crate::metrics::Route;
use crate::routes::intake::serve_text;
use crate::state::Mock;
use crate::validate;

pub(super) const PATH: &str = "/v1/chat/completions";

pub(super) async fn post(State(mock): State<Arc<Mock>>, request: Request) -> Response {
    chat(mock, request).await
}

/// Whether a request is for [`chat`].
pub(crate) fn is_chat<B>(request: &axum::http::Request<B>) -> bool {
    request.method() == Method::POST && request.uri().path() == PATH
}

pub(crate) async fn chat(mock: Arc<Mock>, request: Request) -> Response {
    let served = serve_text(mock, request, Route::Chat, validate::chat, |_| {});
    let (exchange, answer) = match served.await {
        Ok(arrived) => arrived,
        Err(response) => return response,
    };
    let (id, created) = (ident::object_id("chatcmpl-"), ident::created());
    if !answer.stream {
        let json = answer.to_chat_completion(&id, created);
        return exchange.generated(json).await;
    }
    let chunks = Chunks::new(&answer, &id, created);
    exchange.stream(Events::Chat(chunks))
}

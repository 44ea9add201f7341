//! `POST /v1/chat/completions`.

use axum::http::{Method, Request};
use axum::response::Response;

use crate::body::Reply;
use crate::chunks::Chunks;
use crate::events::Events;
use crate::ident;
use crate::metrics::Route;
use crate::routes::intake::{Arrived, Incoming, serve_text};
use crate::validate;

pub(super) const PATH: &str = "/v1/chat/completions";

pub(super) async fn post(arrived: Arrived) -> Response<Reply> {
    chat(arrived).await
}

/// Whether a request is for [`chat`].
pub(crate) fn is_chat<B>(request: &Request<B>) -> bool {
    request.method() == Method::POST && request.uri().path() == PATH
}

pub(crate) async fn chat<B: Incoming>(arrived: Arrived<B>) -> Response<Reply> {
    let served = serve_text(arrived, Route::Chat, validate::chat, |_| {});
    let (exchange, answer) = match served.await {
        Ok(arrived) => arrived,
        Err(refused) => return refused.answer(),
    };
    let (id, created) = (ident::object_id("chatcmpl-"), exchange.at.as_secs());
    if !answer.stream {
        let json = answer.to_chat_completion(&id, created);
        return exchange.generated(json).await;
    }
    let chunks = Chunks::new(answer, &id, created);
    exchange.stream(Events::Chat(chunks))
}

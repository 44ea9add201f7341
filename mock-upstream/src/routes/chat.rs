//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;

use crate::answer::Answer;
use crate::chunks::Chunks;
use crate::events::Events;
use crate::ident;
use crate::metrics::Route;
use crate::routes::intake::{Decided, serve};
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
    let served = serve(mock, request, Route::Chat, |plan, fault, head| {
        if fault.strict == Some(true) {
            validate::chat(head, &plan.scenario.models)?;
        }
        let answer = Answer::to(head, fault);
        Ok(Decided {
            prompt_tokens: answer.usage.prompt,
            completion_tokens: answer.usage.completion,
            answer,
        })
    });
    let (exchange, _, answer) = match served.await {
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

//! From a request's arrival to the point where its route answers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::answer::Answer;
use crate::error::ApiError;
use crate::exchange::{Exchange, Refusal};
use crate::fault::Fault;
use crate::head::Head;
use crate::metrics::Route;
use crate::state::{Mock, Plan};

/// The largest body that is kept.
const MAX_KEPT: usize = 64 << 20;

/// An answer that is decided, and the tokens it costs.
pub(super) struct Decided<T> {
    pub(super) answer: T,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
}

/// Serves a request with a JSON body. `decide` may refuse it, and says what the answer costs; what
/// was asked of the mock comes between that and the answer.
pub(super) async fn serve<T>(
    mock: Arc<Mock>,
    request: Request,
    route: Route,
    decide: impl FnOnce(&Plan, &Fault, &Head<'_>) -> Result<Decided<T>, ApiError>,
) -> Result<(Exchange, Bytes, T), Response> {
    let (request, body) = request.into_parts();
    let mut exchange = Exchange::begin(&mock, &request, route);
    let arrived = async {
        let body = keep(body).await?;
        exchange.note_body(&body, body.len() as u64);
        let head = Head::read(&body);
        let model = head.model_name();
        exchange.inspect(&request, Some(&model))?;
        let decided = decide(&exchange.plan, exchange.fault(), &head)?;
        let (prompt, completion) = (decided.prompt_tokens, decided.completion_tokens);
        let screened = exchange.screen(&request, &body, &model, prompt, completion);
        screened.await?;
        drop(model);
        Ok((body, decided.answer))
    };
    let arrived: Result<_, Refusal> = arrived.await;
    match arrived {
        Ok((body, answer)) => Ok((exchange, body, answer)),
        Err(refusal) => Err(exchange.refuse(refusal)),
    }
}

/// Serves a request that is answered by a text. In strict scenarios `check` may refuse it; `adapt`
/// changes the answer to what its route can give.
pub(super) async fn serve_text(
    mock: Arc<Mock>,
    request: Request,
    route: Route,
    check: impl FnOnce(&Head<'_>, &[String]) -> Result<(), ApiError>,
    adapt: impl FnOnce(&mut Answer),
) -> Result<(Exchange, Answer), Response> {
    let served = serve(mock, request, route, |plan, fault, head| {
        if fault.strict == Some(true) {
            check(head, &plan.scenario.models)?;
        }
        let mut answer = Answer::to(head, fault);
        adapt(&mut answer);
        Ok(Decided {
            prompt_tokens: answer.usage.prompt,
            completion_tokens: answer.usage.completion,
            answer,
        })
    });
    let (exchange, _, answer) = served.await?;
    Ok((exchange, answer))
}

/// Serves a request whose body does not matter, whatever its length. Gives its head and the
/// number of bytes.
pub(super) async fn serve_any(
    mock: Arc<Mock>,
    request: Request,
    route: Route,
) -> Result<(Exchange, Parts, u64), Response> {
    let (request, body) = request.into_parts();
    let mut exchange = Exchange::begin(&mock, &request, route);
    let arrived = async {
        let bytes = count(body).await?;
        exchange.note_body(b"", bytes);
        exchange.inspect(&request, None)?;
        exchange.screen(&request, b"", "this", 0, 0).await?;
        Ok(bytes)
    };
    let arrived: Result<u64, Refusal> = arrived.await;
    match arrived {
        Ok(bytes) => Ok((exchange, request, bytes)),
        Err(refusal) => Err(exchange.refuse(refusal)),
    }
}

/// Reads a body and keeps it. Each is read to its end before the answer: what a client still has
/// to send would otherwise cost it the connection.
async fn keep(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_KEPT).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::body_too_large(MAX_KEPT).into())
        }
        Err(_) => Err(Refusal::Incomplete),
    }
}

/// Reads a body of any length, keeping nothing but the number of its bytes.
async fn count(mut body: Body) -> Result<u64, Refusal> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Incomplete)?;
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

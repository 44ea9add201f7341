//! From a request's arrival to the point where its route answers.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::answer::Answer;
use crate::body::Reply;
use crate::connection::Peer;
use crate::error::ApiError;
use crate::exchange::{Exchange, Refusal};
use crate::fault::Fault;
use crate::head::Head;
use crate::metrics::Route;
use crate::state::{Mock, Plan};

/// The largest body that is kept.
const MAX_KEPT: usize = 64 << 20;

/// The body of a request.
pub(crate) trait Incoming: http_body::Body<Data = Bytes> + Unpin {}

impl<B: http_body::Body<Data = Bytes> + Unpin> Incoming for B {}

/// A request under `/v1/`, of which the head has come.
#[derive(Debug)]
pub(crate) struct Arrived<B = Body> {
    exchange: Box<Exchange>,
    body: B,
}

impl<B> Arrived<B> {
    pub(crate) fn new(mock: Arc<Mock>, request: Request<B>, peer: Option<Peer>) -> Self {
        let (request, body) = request.into_parts();
        let exchange = Exchange::begin(mock, request, peer);
        Self { exchange, body }
    }
}

impl FromRequest<Arc<Mock>> for Arrived {
    type Rejection = Infallible;

    async fn from_request(mut request: Request, mock: &Arc<Mock>) -> Result<Self, Infallible> {
        let peer = request.extensions_mut().remove();
        Ok(Self::new(Arc::clone(mock), request, peer))
    }
}

/// A request that gets no answer of its route.
#[derive(Debug)]
pub(super) struct Refused {
    exchange: Box<Exchange>,
    refusal: Refusal,
}

impl Refused {
    pub(super) fn answer(self) -> Response<Reply> {
        self.exchange.refuse(self.refusal)
    }
}

/// An answer that is decided, and the tokens it costs.
pub(super) struct Decided<T> {
    pub(super) answer: T,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
}

/// Serves a request with a JSON body. `decide` may refuse it, and says what the answer costs; what
/// was asked of the mock comes between that and the answer.
pub(super) async fn serve<B: Incoming, T>(
    arrived: Arrived<B>,
    route: Route,
    decide: impl FnOnce(&Plan, &Fault, &Head<'_>) -> Result<Decided<T>, ApiError>,
) -> Result<(Box<Exchange>, T), Refused> {
    let Arrived { mut exchange, body } = arrived;
    exchange.set_route(route);
    let mut kept = Bytes::new();
    let decided = async {
        kept = keep(body).await?;
        let head = Head::read(&kept);
        let model = head.model_name();
        exchange.inspect(Some(&model))?;
        let decided = decide(&exchange.plan, exchange.fault(), &head)?;
        let (prompt, completion) = (decided.prompt_tokens, decided.completion_tokens);
        exchange.screen(&kept, &model, prompt, completion).await?;
        Ok(decided.answer)
    };
    let decided: Result<T, Refusal> = decided.await;
    exchange.body_bytes = kept.len() as u64;
    exchange.body = kept;
    match decided {
        Ok(answer) => Ok((exchange, answer)),
        Err(refusal) => Err(Refused { exchange, refusal }),
    }
}

/// Serves a request that is answered by a text. In strict scenarios `check` may refuse it; `adapt`
/// changes the answer to what its route can give.
pub(super) async fn serve_text<B: Incoming>(
    arrived: Arrived<B>,
    route: Route,
    check: impl FnOnce(&Head<'_>, &[String]) -> Result<(), ApiError>,
    adapt: impl FnOnce(&mut Answer),
) -> Result<(Box<Exchange>, Answer), Refused> {
    serve(arrived, route, |plan, fault, head| {
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
    })
    .await
}

/// Serves a request whose body does not matter, whatever its length.
pub(super) async fn serve_any(arrived: Arrived, route: Route) -> Result<Box<Exchange>, Refused> {
    let Arrived { mut exchange, body } = arrived;
    exchange.set_route(route);
    let screened = async {
        exchange.body_bytes = count(body).await?;
        exchange.inspect(None)?;
        exchange.screen(b"", "this", 0, 0).await
    };
    match screened.await {
        Ok(()) => Ok(exchange),
        Err(refusal) => Err(Refused { exchange, refusal }),
    }
}

/// Reads a body and keeps it. Each is read to its end before the answer: what a client still has
/// to send would otherwise cost it the connection.
async fn keep(mut body: impl Incoming) -> Result<Bytes, Refusal> {
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    // To ask for the end of a body that says itself where it ends would be in vain.
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else {
            break;
        };
        let frame = frame.map_err(|_| Refusal::Incomplete)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len().max(all.len()) + data.len() > MAX_KEPT {
            return Err(ApiError::body_too_large(MAX_KEPT).into());
        }
        if first.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
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

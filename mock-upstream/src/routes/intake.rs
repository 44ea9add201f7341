//! From a request's arrival to the point where its route answers.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
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
    mock: Arc<Mock>,
    request: Request<B>,
    peer: Option<Peer>,
}

impl<B> Arrived<B> {
    pub(crate) fn new(mock: Arc<Mock>, request: Request<B>, peer: Option<Peer>) -> Self {
        Self {
            mock,
            request,
            peer,
        }
    }

    fn begin(self, route: Route) -> (Exchange, Parts, B) {
        let (request, body) = self.request.into_parts();
        let exchange = Exchange::begin(self.mock, self.peer, &request, route);
        (exchange, request, body)
    }
}

impl FromRequest<Arc<Mock>> for Arrived {
    type Rejection = Infallible;

    async fn from_request(mut request: Request, mock: &Arc<Mock>) -> Result<Self, Infallible> {
        let peer = request.extensions_mut().remove();
        Ok(Self::new(Arc::clone(mock), request, peer))
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
) -> Result<(Exchange, Bytes, T), Response<Reply>> {
    let (mut exchange, request, body) = arrived.begin(route);
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
pub(super) async fn serve_text<B: Incoming>(
    arrived: Arrived<B>,
    route: Route,
    check: impl FnOnce(&Head<'_>, &[String]) -> Result<(), ApiError>,
    adapt: impl FnOnce(&mut Answer),
) -> Result<(Exchange, Answer), Response<Reply>> {
    let served = serve(arrived, route, |plan, fault, head| {
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
    arrived: Arrived,
    route: Route,
) -> Result<(Exchange, Parts, u64), Response<Reply>> {
    let (mut exchange, request, body) = arrived.begin(route);
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
    Ok(if all.is_empty() {
        first
    } else {
        all.freeze()
    })
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

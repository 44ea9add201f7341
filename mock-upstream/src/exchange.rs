//! One request from its arrival to its answer.

use std::time::Instant;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use crate::answer::{Broken, Whole};
use crate::chunks::Chunks;
use crate::connection::Peer;
use crate::error::ApiError;
use crate::fault::Fault;
use crate::ident;
use crate::pace::Pace;
use crate::routes::Mock;
use crate::stream::{Cut, EventStream};
use crate::witness::InFlight;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const API_VERSION: HeaderValue = HeaderValue::from_static("2020-10-01");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const OPENAI_PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");
const OPENAI_VERSION: HeaderName = HeaderName::from_static("openai-version");

/// A request under `/v1/`, counted as in flight until its answer has been given away.
#[derive(Debug)]
pub(crate) struct Exchange {
    in_flight: InFlight,
    arrived: Instant,
    peer: Option<Peer>,
}

/// Why a request gets no answer of its route.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It gets an error instead.
    Error(ApiError),
    /// It never came whole; most likely the client left.
    Incomplete,
    /// It gets nothing: the connection is reset.
    Reset,
}

impl<E: Into<ApiError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Exchange {
    /// Counts the arrival of a request.
    pub(crate) fn begin(mock: &Mock, request: &Parts) -> Self {
        let authorization = request.headers.get(header::AUTHORIZATION);
        let peer = request.extensions.get::<Peer>().cloned();
        let mut in_flight = mock
            .witness
            .enter(authorization.map(HeaderValue::as_bytes), peer.clone());
        if request.method == Method::HEAD {
            // The server drops the body of such an answer unread.
            in_flight.finish();
        }
        Self {
            in_flight,
            arrived: Instant::now(),
            peer,
        }
    }

    /// Looks for tokens that must not be there, then lets happen what the request asks for before
    /// its answer. To be called when the request has been read to its end.
    pub(crate) async fn screen(&self, mock: &Mock, request: &Parts) -> Result<Fault, Refusal> {
        let fault = Fault::from_headers(&request.headers)?;
        let mut denied = mock.scenario.deny_tokens.iter().chain(&fault.deny_token);
        if denied.any(|token| token.occurs_in(&request.headers)) {
            mock.witness.count_forbidden_token();
            return Err(ApiError::forbidden_token().into());
        }
        if let Some(delay) = fault.header_delay {
            tokio::time::sleep(delay).await;
        }
        if fault.reset_after == Some(0) {
            return Err(Refusal::Reset);
        }
        match fault.status {
            Some(status) => Err(ApiError::of_status(status).into()),
            None => Ok(fault),
        }
    }

    /// Answers by a JSON text.
    pub(crate) fn json(self, json: impl Into<Bytes>) -> Response {
        self.whole(StatusCode::OK, json.into())
    }

    /// Answers by an event stream.
    pub(crate) fn stream(self, chunks: Chunks, pace: Pace, fault: &Fault) -> Response {
        let cut = fault
            .reset_after
            .map(|chunks| Cut::after(chunks, self.peer.clone()));
        let (arrived, body) = (
            self.arrived,
            EventStream::new(chunks, pace, cut, self.in_flight),
        );
        let mut response = respond(arrived, EVENT_STREAM, Body::new(body));
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, NO_CACHE);
        response
    }

    /// Answers by an error, or not at all.
    pub(crate) fn refuse(mut self, refusal: Refusal) -> Response {
        match refusal {
            Refusal::Error(error) => self.whole(error.status, error.to_json().into()),
            Refusal::Incomplete => {
                // Whether anybody reads this answer or not, the request was aborted.
                drop(self.in_flight);
                let error = ApiError::body_unreadable();
                let mut response = respond(self.arrived, JSON, Body::from(error.to_json()));
                *response.status_mut() = error.status;
                response
            }
            Refusal::Reset => {
                self.in_flight.finish();
                if let Some(peer) = &self.peer {
                    peer.reset_when_closed();
                }
                Response::new(Body::new(Broken))
            }
        }
    }

    fn whole(self, status: StatusCode, bytes: Bytes) -> Response {
        let body = Body::new(Whole::new(bytes, self.in_flight));
        let mut response = respond(self.arrived, JSON, body);
        *response.status_mut() = status;
        response
    }
}

fn respond(arrived: Instant, content_type: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.reserve(8);
    headers.insert(header::CONTENT_TYPE, content_type);
    if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(ident::request_id())) {
        headers.insert(X_REQUEST_ID, id);
    }
    let elapsed = u64::try_from(arrived.elapsed().as_millis()).unwrap_or(u64::MAX);
    headers.insert(OPENAI_PROCESSING_MS, elapsed.into());
    headers.insert(OPENAI_VERSION, API_VERSION);
    response
}

//! The answer to a request, with what is to go wrong with it.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use crate::alarm::Alarm;
use crate::body::{Broken, Reply, Whole};
use crate::error::ApiError;
use crate::events::{Due, Events, List};
use crate::exchange::{Exchange, Refusal};
use crate::fault::Fault;
use crate::headers;
use crate::ident::RequestId;
use crate::journal::{Arrival, Entry};
use crate::mischief::{self, Mischief};
use crate::pace::Pace;
use crate::replay::Recording;
use crate::stream::EventStream;

impl Exchange {
    /// Answers by a JSON text, once the first token would be there.
    pub(crate) async fn generated(self: Box<Self>, json: impl Into<Bytes>) -> Response<Reply> {
        if let Some(first) = self.fault().first_token {
            let tempo = self.tempo();
            let wait = tempo.draw(first, &mut tempo.rng());
            Alarm::after(wait.saturating_sub(self.arrived.elapsed())).await;
        }
        self.json(json)
    }

    /// Answers by a JSON text.
    pub(crate) fn json(self: Box<Self>, json: impl Into<Bytes>) -> Response<Reply> {
        self.whole(StatusCode::OK, headers::JSON, json.into(), true)
    }

    /// Answers by anything in one piece.
    pub(crate) fn other(
        self: Box<Self>,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Response<Reply> {
        let content_type = HeaderValue::from_static(content_type);
        self.whole(StatusCode::OK, content_type, body.into(), true)
    }

    /// Answers by an event stream.
    pub(crate) fn stream(mut self: Box<Self>, mut events: Events) -> Response<Reply> {
        if self.fault().no_done == Some(true) {
            events.without_done();
        }
        if self.fault().wrong_length.is_some() {
            let bytes = events.collect();
            return self.whole(StatusCode::OK, headers::EVENT_STREAM, bytes, true);
        }
        let mut response = self.respond(StatusCode::OK, headers::event_stream());
        if self.fault().gzip == Some(true) {
            let with = response.headers_mut();
            with.insert(header::CONTENT_ENCODING, headers::GZIP);
        }
        // It counts its words itself.
        self.in_flight.spending.completion_tokens = 0;
        let pace = Pace::new(self.tempo(), self.arrived);
        let mischief = Mischief::of_stream(self.fault(), self.peer.as_ref());
        self.streamed(response, events, pace, mischief)
    }

    /// Answers by an error, by a recording, or not at all.
    pub(crate) fn refuse(mut self: Box<Self>, refusal: Refusal) -> Response<Reply> {
        match refusal {
            Refusal::Error(error) => {
                let mut response =
                    self.whole(error.status, headers::JSON, error.to_json().into(), false);
                headers::retry(
                    response.headers_mut(),
                    error.retry_after,
                    error.should_retry,
                );
                response
            }
            Refusal::Incomplete => {
                let error = ApiError::body_unreadable();
                let response = self.respond(error.status, headers::json());
                // Whether anybody reads this answer or not, the request was aborted.
                drop(self.in_flight);
                response.map(|()| Reply::Other(error.to_json().into()))
            }
            Refusal::Break { reset } => {
                self.in_flight.finish();
                if let Some(peer) = self.peer.as_ref().filter(|_| reset) {
                    peer.reset_when_closed();
                }
                Response::new(Reply::Broken(Broken))
            }
            Refusal::Replay(recording) => self.replay(&recording),
        }
    }

    fn replay(mut self: Box<Self>, recording: &Recording) -> Response<Reply> {
        let status = StatusCode::from_u16(recording.status).unwrap_or_default();
        let mut response = self.respond(status, headers::json());
        let with = response.headers_mut();
        with.remove(header::CONTENT_TYPE);
        headers::recorded(with, &recording.headers);
        let mut list = List::default();
        for piece in &recording.chunks {
            list.push(Due::At(piece.at()), piece.bytes());
        }
        let pace = Pace::recorded(self.arrived);
        let mischief = Mischief::of_stream(self.fault(), self.peer.as_ref());
        self.streamed(response, Events::List(list), pace, mischief)
    }

    fn streamed(
        self: Box<Self>,
        response: Response<()>,
        events: Events,
        pace: Pace,
        mischief: Option<Box<Mischief>>,
    ) -> Response<Reply> {
        let body = EventStream::new(events, pace, mischief, self.in_flight);
        response.map(|()| Reply::Stream(Box::new(body)))
    }

    /// In one piece, though as a stream: its length is not what it seems.
    fn at_once(
        self: Box<Self>,
        response: Response<()>,
        bytes: Bytes,
        mischief: Option<Box<Mischief>>,
    ) -> Response<Reply> {
        let mut list = List::default();
        list.push(Due::Now, bytes);
        self.streamed(response, Events::List(list), Pace::Immediate, mischief)
    }

    fn whole(
        mut self: Box<Self>,
        status: StatusCode,
        content_type: HeaderValue,
        bytes: Bytes,
        faulty: bool,
    ) -> Response<Reply> {
        let mut with = headers::json();
        with.insert(header::CONTENT_TYPE, content_type);
        let mut response = self.respond(status, with);
        if !faulty || !is_tampered_with(self.fault()) {
            let body = Whole::new(bytes, self.in_flight);
            return response.map(|()| Reply::Whole(body));
        }
        let mut bytes = bytes;
        if self.fault().gzip == Some(true)
            && let Ok(compressed) = mischief::gzip(&bytes)
        {
            bytes = compressed;
            let with = response.headers_mut();
            with.insert(header::CONTENT_ENCODING, headers::GZIP);
        }
        if let Some(excess) = self.fault().wrong_length {
            return self.of_wrong_length(response, bytes, excess);
        }
        let length = bytes.len();
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
        let split = self
            .fault()
            .split
            .map_or(length.max(1), |split| split.get());
        self.at_once(response, bytes, Some(Mischief::splitting(split)))
    }

    /// Promises more bytes than come, or sends more than were promised; then closes.
    fn of_wrong_length(
        self: Box<Self>,
        mut response: Response<()>,
        bytes: Bytes,
        excess: i64,
    ) -> Response<Reply> {
        let length = (bytes.len() as u64).saturating_add_signed(excess);
        let with = response.headers_mut();
        with.insert(header::CONTENT_LENGTH, length.into());
        with.insert(header::CONNECTION, headers::CLOSE);
        let promised = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let rest = bytes.slice(promised..);
        if let Some(peer) = self.peer.as_ref().filter(|_| !rest.is_empty()) {
            peer.send_when_closed(rest);
        }
        self.at_once(response, bytes.slice(..promised), None)
    }

    /// The head of the answer; it is counted and written down.
    fn respond(&mut self, status: StatusCode, mut with: HeaderMap) -> Response<()> {
        self.mock.metrics.count_answer(self.route, status.as_u16());
        let id = RequestId::new();
        headers::add(&mut with, id, self.arrived.elapsed());
        headers::rates(&mut with, self.rates);
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = with;
        let capacity = self.plan.scenario.journal;
        if capacity > 0 {
            let body = (&*self.body, self.body_bytes);
            let arrival = Arrival::new(self.at, &self.request, body);
            let said = std::mem::take(&mut self.said);
            let key = self.in_flight.key;
            let entry = Entry::new(arrival, self.number, key, status.as_u16(), id, said);
            let entry = Arc::new(entry);
            self.in_flight.journal = Some(Arc::clone(&entry));
            self.mock.journal.push(entry, capacity);
        }
        response
    }
}

/// Whether an answer in one piece is touched by a fault.
fn is_tampered_with(fault: &Fault) -> bool {
    fault.gzip == Some(true) || fault.split.is_some() || fault.wrong_length.is_some()
}

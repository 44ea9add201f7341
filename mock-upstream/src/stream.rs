//! The body of a streamed answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::events::Events;
use crate::mischief::{Mischief, Turn};
use crate::pace::Pace;
use crate::witness::InFlight;

/// Without pauses, events leave in pieces of about so many bytes.
const MAX_PIECE: usize = 16 << 10;

/// A stream on its way to the client. Dropping it before its end means that the client left.
#[derive(Debug)]
pub(crate) struct EventStream {
    events: Events,
    pace: Pace,
    mischief: Option<Box<Mischief>>,
    chunks: u64,
    in_flight: InFlight,
}

impl EventStream {
    pub(crate) fn new(
        events: Events,
        pace: Pace,
        mischief: Option<Box<Mischief>>,
        in_flight: InFlight,
    ) -> Self {
        Self {
            events,
            pace,
            mischief,
            chunks: 0,
            in_flight,
        }
    }

    /// The request is over; its last bytes may leave.
    fn finish(&mut self) {
        self.settle();
        self.in_flight.finish();
    }

    fn settle(&mut self) {
        let words = self.events.words();
        if words > 0 {
            self.in_flight.spending.completion_tokens = words;
        }
        self.in_flight
            .count_chunks(std::mem::take(&mut self.chunks));
    }

    fn poll_with_mischief(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            let Some(mischief) = &mut self.mischief else {
                return Poll::Ready(None);
            };
            match ready!(mischief.poll_turn(cx)) {
                Turn::Piece(piece) => {
                    if mischief.is_over() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Turn::Break => {
                    self.finish();
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
                Turn::End => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Turn::Event => {}
            }
            let Some(due) = self.events.due() else {
                mischief.end();
                continue;
            };
            ready!(self.pace.poll_due(due, cx));
            let mut event = Vec::new();
            self.events.write_next(&mut event);
            mischief.take(&event.into());
            self.chunks += 1;
            if self.events.due().is_none() {
                mischief.end();
            }
        }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if this.mischief.is_some() {
            return this.poll_with_mischief(cx);
        }
        let Some(due) = this.events.due() else {
            return Poll::Ready(None);
        };
        ready!(this.pace.poll_due(due, cx));
        let at_once = matches!(this.pace, Pace::Immediate);
        let mut events = Vec::new();
        if at_once {
            events.reserve(this.events.size().min(MAX_PIECE));
        }
        loop {
            this.events.write_next(&mut events);
            this.chunks += 1;
            if this.events.due().is_none() {
                // The client may start its next request once it has these bytes.
                this.finish();
                break;
            }
            if !at_once || events.len() >= MAX_PIECE {
                break;
            }
        }
        // Bytes with room behind them would take one more allocation.
        let events = events.into_boxed_slice();
        Poll::Ready(Some(Ok(Frame::data(events.into()))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.mischief {
            Some(mischief) => mischief.is_over(),
            None => self.events.due().is_none(),
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.settle();
    }
}

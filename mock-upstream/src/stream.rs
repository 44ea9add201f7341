//! The body of a streamed answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::chunks::Chunks;
use crate::connection::Peer;
use crate::pace::Pace;
use crate::witness::InFlight;

/// A stream on its way to the client. Dropping it before its end means that the client left.
#[derive(Debug)]
pub(crate) struct EventStream {
    chunks: Chunks,
    pace: Pace,
    cut: Option<Cut>,
    in_flight: InFlight,
}

/// A connection to be reset in mid-stream.
#[derive(Debug)]
pub(crate) struct Cut {
    peer: Option<Peer>,
    chunks_left: u32,
    flushed: bool,
}

impl Cut {
    /// After `chunks` chunks; the ones before have left when the connection goes.
    pub(crate) fn after(chunks: u32, peer: Option<Peer>) -> Self {
        Self {
            peer,
            chunks_left: chunks,
            flushed: chunks == 0,
        }
    }
}

impl EventStream {
    pub(crate) fn new(chunks: Chunks, pace: Pace, cut: Option<Cut>, in_flight: InFlight) -> Self {
        Self {
            chunks,
            pace,
            cut,
            in_flight,
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
        let Some(event) = this.chunks.peek() else {
            return Poll::Ready(None);
        };
        if let Some(cut) = &mut this.cut
            && cut.chunks_left == 0
        {
            if !cut.flushed {
                cut.flushed = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.in_flight.finish();
            if let Some(peer) = &cut.peer {
                peer.reset_when_closed();
            }
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
        }
        ready!(this.pace.poll_due(event, cx));
        let chunk = this.chunks.take();
        if let Some(cut) = &mut this.cut {
            cut.chunks_left -= 1;
        }
        if this.chunks.peek().is_none() {
            // The client may start its next request once it has these bytes.
            this.in_flight.finish();
        }
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.peek().is_none()
    }
}

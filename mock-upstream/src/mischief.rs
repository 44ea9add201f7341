//! What can go wrong with a stream on its way.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::time::{Sleep, sleep};

use crate::connection::Peer;
use crate::error::ApiError;
use crate::fault::Fault;

/// The faults of one stream.
#[derive(Debug, Default)]
pub(crate) struct Mischief {
    cut: Option<Cut>,
    stall: Option<Stall>,
    error: Option<(u32, Bytes)>,
    malformed_after: Option<u32>,
    split: Option<usize>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// What is ready to leave.
    out: VecDeque<Bytes>,
    sent: u32,
    flushed: bool,
    over: bool,
}

/// A connection that ends in mid-stream.
#[derive(Debug)]
struct Cut {
    after: u32,
    /// Whose connection is reset; without one it is closed in order.
    reset: Option<Peer>,
}

#[derive(Debug)]
struct Stall {
    after: u32,
    time: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What happens next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// These bytes leave.
    Piece(Bytes),
    /// The next event is wanted.
    Event,
    /// The connection ends here.
    Break,
    /// That was all.
    End,
}

impl Mischief {
    /// What is to happen to a stream; `None` when nothing is.
    pub(crate) fn of_stream(fault: &Fault, peer: Option<&Peer>) -> Option<Box<Self>> {
        let reset = fault.reset_after.map(|after| Cut {
            after,
            reset: peer.cloned(),
        });
        let close = || fault.close_after.map(|after| Cut { after, reset: None });
        let error = fault.error_after.map(|after| {
            let error = ApiError::named(fault.in_band_error()).to_json();
            let event = [b"data: ", error.as_slice(), b"\n\n"].concat();
            (after, event.into())
        });
        let this = Self {
            cut: reset.or_else(close),
            stall: fault.stall_after.map(|after| Stall {
                after,
                time: fault.stall,
                timer: None,
            }),
            error,
            malformed_after: fault.malformed_after,
            split: fault.split.map(std::num::NonZeroUsize::get),
            gzip: (fault.gzip == Some(true)).then(encoder),
            ..Self::default()
        };
        let any = this.cut.is_some()
            || this.stall.is_some()
            || this.error.is_some()
            || this.malformed_after.is_some()
            || this.split.is_some()
            || this.gzip.is_some();
        any.then(|| Box::new(this))
    }

    /// Only the size of writes.
    pub(crate) fn splitting(bytes: usize) -> Box<Self> {
        Box::new(Self {
            split: Some(bytes),
            ..Self::default()
        })
    }

    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if !self.out.is_empty() {
            if self.split.is_some() && !self.is_flushed(cx) {
                return Poll::Pending;
            }
            self.flushed = false;
            return Poll::Ready(self.out.pop_front().map_or(Turn::Event, Turn::Piece));
        }
        if self.over {
            return Poll::Ready(Turn::End);
        }
        if self.cut.as_ref().is_some_and(|cut| cut.after == self.sent) {
            // What was said before leaves before the connection goes.
            if self.sent > 0 && !self.is_flushed(cx) {
                return Poll::Pending;
            }
            let peer = self.cut.as_ref().and_then(|cut| cut.reset.as_ref());
            if let Some(peer) = peer {
                peer.reset_when_closed();
            }
            return Poll::Ready(Turn::Break);
        }
        if let Some(stall) = self.stall.as_mut().filter(|stall| stall.after == self.sent) {
            let Some(time) = stall.time else {
                // For good: the client's leaving ends it.
                return Poll::Pending;
            };
            let timer = stall.timer.get_or_insert_with(|| Box::pin(sleep(time)));
            std::task::ready!(timer.as_mut().poll(cx));
            self.stall = None;
        }
        if let Some((_, event)) = self.error.take_if(|(after, _)| *after == self.sent) {
            self.push(&event);
            self.end();
            return self.poll_turn(cx);
        }
        Poll::Ready(Turn::Event)
    }

    /// Whether all that was said has left; if not, it will have when asked again.
    fn is_flushed(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.flushed {
            // The connection flushes whenever the body has nothing more for it.
            cx.waker().wake_by_ref();
        }
        std::mem::replace(&mut self.flushed, true)
    }

    /// Takes an event that is on its way.
    pub(crate) fn take(&mut self, event: &Bytes) {
        if self.malformed_after == Some(self.sent) {
            let half = event.len() / 2;
            self.push(&[&event[..half], b"\n\n"].concat().into());
        } else {
            self.push(event);
        }
        self.sent += 1;
        self.flushed = false;
    }

    /// No event follows.
    pub(crate) fn end(&mut self) {
        self.over = true;
        if let Some(gzip) = self.gzip.take() {
            // Writing to memory cannot fail.
            let trailer = gzip.finish().unwrap_or_default();
            self.split(&trailer.into());
        }
    }

    fn push(&mut self, bytes: &Bytes) {
        match &mut self.gzip {
            None => self.split(bytes),
            Some(gzip) => {
                // Writing to memory cannot fail.
                let _ = gzip.write_all(bytes).and_then(|()| gzip.flush());
                let compressed = std::mem::take(gzip.get_mut());
                self.split(&compressed.into());
            }
        }
    }

    fn split(&mut self, bytes: &Bytes) {
        let size = self.split.unwrap_or(bytes.len());
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(size.min(rest.len()));
            self.out.push_back(piece);
        }
    }

    /// Whether nothing will leave any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over && self.out.is_empty()
    }
}

fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

/// A body as gzip has it.
pub(crate) fn gzip(bytes: &[u8]) -> io::Result<Bytes> {
    let mut encoder = encoder();
    encoder.write_all(bytes)?;
    encoder.finish().map(Bytes::from)
}

//! Bodies of answers.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::stream::EventStream;
use crate::witness::InFlight;

/// The body of any answer. Its kinds are known, so that what streams needs no virtual calls.
#[derive(Debug)]
pub(crate) enum Reply {
    Stream(Box<EventStream>),
    Whole(Whole),
    Broken(Broken),
    /// Of a route that is not counted.
    Other(axum::body::Body),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Stream(body) => Pin::new(&mut **body).poll_frame(cx).map_err(Into::into),
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Broken(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Other(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Stream(body) => body.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
            Self::Broken(body) => body.is_end_stream(),
            Self::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Stream(body) => body.size_hint(),
            Self::Whole(body) => body.size_hint(),
            Self::Broken(body) => body.size_hint(),
            Self::Other(body) => body.size_hint(),
        }
    }
}

/// A body in one piece; the request is over just before it leaves.
#[derive(Debug)]
pub(crate) struct Whole {
    bytes: Option<Bytes>,
    in_flight: InFlight,
}

impl Whole {
    pub(crate) fn new(bytes: impl Into<Bytes>, in_flight: InFlight) -> Self {
        Self {
            bytes: Some(bytes.into()),
            in_flight,
        }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = self.bytes.take();
        self.in_flight.finish();
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// A body that breaks before its first byte, and with it the connection before the headers.
#[derive(Debug)]
pub(crate) struct Broken;

impl Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
    }
}

//! One request, and when its parts come.

use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Method, Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::events::{Events, Kind};
use crate::bench::record::{Failure, Sample};
use crate::bench::target::Target;

type Connection = SendRequest<Full<Bytes>>;

/// Sends requests to one target, over connections that are used again.
pub(super) struct Client {
    target: Target,
    timeout: Duration,
    idle: RefCell<Vec<Connection>>,
}

impl Client {
    pub(super) fn new(target: Target, timeout: Duration) -> Self {
        Self {
            target,
            timeout,
            idle: RefCell::default(),
        }
    }

    /// Sends a request that was to be sent at `intended`, and reads its answer.
    pub(super) async fn ask(&self, intended: Instant) -> Result<Sample, Failure> {
        let left = (intended + self.timeout).saturating_duration_since(Instant::now());
        timeout(left, self.exchange(intended))
            .await
            .unwrap_or(Err(Failure::Timeout))
    }

    async fn exchange(&self, intended: Instant) -> Result<Sample, Failure> {
        let kept = self.idle.borrow_mut().pop();
        let mut sample = Sample {
            lag: intended.elapsed(),
            ..Sample::default()
        };
        let mut connection = match kept {
            Some(connection) if connection.is_ready() => connection,
            _ => self.connect().await.map_err(|_| Failure::Connect)?,
        };
        let answer = connection.send_request(self.request()).await;
        let answer = answer.map_err(|_| Failure::Connect)?;
        sample.first_byte = intended.elapsed();
        let (head, mut body) = answer.into_parts();
        let mut reader = Reader::new(&head.headers);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Failure::Truncated)?;
            if let Some(data) = frame.data_ref().filter(|_| head.status.is_success()) {
                reader.take(data, intended.elapsed(), &mut sample);
            }
        }
        sample.end = intended.elapsed();
        if connection.ready().await.is_ok() {
            self.idle.borrow_mut().push(connection);
        }
        if !head.status.is_success() {
            return Err(Failure::Status(head.status.as_u16()));
        }
        reader.verdict()?;
        Ok(sample)
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.target.body.clone()));
        *request.method_mut() = Method::POST;
        if let Ok(path) = self.target.path.parse() {
            *request.uri_mut() = path;
        }
        request.headers_mut().clone_from(&self.target.headers);
        request
    }

    async fn connect(&self) -> io::Result<Connection> {
        let tcp = TcpStream::connect(self.target.remote.address).await?;
        tcp.set_nodelay(true)?;
        match &self.target.remote.tls {
            None => drive(tcp).await,
            Some((tls, name)) => drive(tls.connect(name.clone(), tcp).await?).await,
        }
    }
}

/// Lets a connection go on beside the requests that use it.
async fn drive<S>(stream: S) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        // How it ends is seen by the request that it ends under.
        let _ = connection.await;
    });
    Ok(sender)
}

/// Reads a body, an event stream or not.
struct Reader {
    events: Option<Events>,
    done: bool,
    failure: Option<Failure>,
}

impl Reader {
    fn new(headers: &HeaderMap) -> Self {
        let kind = headers.get(header::CONTENT_TYPE);
        let streamed = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        Self {
            events: streamed.then(Events::default),
            done: !streamed,
            failure: None,
        }
    }

    fn take(&mut self, data: &[u8], now: Duration, sample: &mut Sample) {
        sample.bytes += data.len() as u64;
        let Some(events) = &mut self.events else {
            return;
        };
        events.feed(data, |kind| {
            sample.chunks += 1;
            match kind {
                Kind::Token => sample.tokens.push(now),
                Kind::Done => self.done = true,
                Kind::Error => self.failure = self.failure.or(Some(Failure::InBandError)),
                Kind::Malformed => self.failure = self.failure.or(Some(Failure::Malformed)),
                Kind::Other => {}
            }
        });
    }

    fn verdict(self) -> Result<(), Failure> {
        match self.failure {
            Some(failure) => Err(failure),
            None if self.done => Ok(()),
            None => Err(Failure::Truncated),
        }
    }
}

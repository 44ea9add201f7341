//! Recording: a proxy that writes down what passes through it, for [`Replay`](crate::Replay).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::error::ApiError;
use crate::remote::{Remote, RemoteError};
use crate::replay::{Piece, Recording, readable};

const MAX_BODY: usize = 64 << 20;

/// Headers that are about a connection, or that nobody should find in a file.
const LEFT_OUT: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::HOST,
    header::ACCEPT_ENCODING,
    header::SET_COOKIE,
    header::TRANSFER_ENCODING,
    header::TE,
    header::UPGRADE,
];

/// Sends requests on, and writes them and their answers to a file. Keys are not written.
#[derive(Debug, Clone)]
pub struct Recorder {
    remote: Remote,
    file: Arc<Mutex<File>>,
}

/// A recording that cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The upstream is none.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The file cannot be written.
    #[error("cannot write {path}: {error}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
}

impl Recorder {
    /// Records what goes to the API at this base URL, such as `https://api.openai.com`, at the
    /// end of a file.
    pub fn new(upstream: &str, path: impl AsRef<Path>) -> Result<Self, RecordError> {
        let path = path.as_ref();
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| RecordError::File {
            path: path.display().to_string(),
            error,
        })?;
        Ok(Self {
            remote: Remote::find(upstream)?,
            file: Arc::new(Mutex::new(file)),
        })
    }

    /// All paths go to the upstream.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/health", any(|| async { "{\"status\":\"ok\"}" }))
            .fallback(forward)
            .with_state(self)
    }

    fn write(&self, recording: &Recording) {
        // Texts and numbers always serialize. A full disk costs the recording, not the answer.
        let mut line = serde_json::to_vec(recording).unwrap_or_default();
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(&line);
    }
}

async fn forward(State(recorder): State<Recorder>, request: Request) -> Response {
    let arrived = Instant::now();
    let (mut head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return refuse(&ApiError::body_unreadable());
    };
    let body = body.to_bytes();
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let recording = Recording {
        method: head.method.to_string(),
        path: target.to_owned(),
        body: readable(&body),
        status: 0,
        headers: Vec::new(),
        chunks: Vec::new(),
    };
    head.headers = kept(&head.headers);
    let Ok(host) = HeaderValue::from_str(&recorder.remote.authority) else {
        return refuse(&ApiError::of_status(StatusCode::BAD_GATEWAY));
    };
    head.headers.insert(header::HOST, host);
    head.uri = recording.path.parse().unwrap_or_default();
    let request = Request::from_parts(head, Full::new(body));
    match ask(&recorder.remote, request).await {
        Ok(answer) => tee(recorder, recording, arrived, answer),
        Err(_) => refuse(&ApiError::of_status(StatusCode::BAD_GATEWAY)),
    }
}

fn refuse(error: &ApiError) -> Response {
    let mut response = Response::new(Body::from(error.to_json()));
    *response.status_mut() = error.status;
    response
}

async fn ask(remote: &Remote, request: Request<Full<Bytes>>) -> io::Result<Response<Incoming>> {
    let tcp = TcpStream::connect(remote.address).await?;
    tcp.set_nodelay(true)?;
    let mut sender = match &remote.tls {
        None => drive(tcp).await?,
        Some((tls, name)) => drive(tls.connect(name.clone(), tcp).await?).await?,
    };
    sender.send_request(request).await.map_err(io::Error::other)
}

async fn drive<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        // How it ends is seen by the answer that it carries.
        let _ = connection.await;
    });
    Ok(sender)
}

fn tee(
    recorder: Recorder,
    mut recording: Recording,
    arrived: Instant,
    answer: Response<Incoming>,
) -> Response {
    let (mut head, incoming) = answer.into_parts();
    head.headers = kept(&head.headers);
    recording.status = head.status.as_u16();
    let headers = head.headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    recording.headers = headers.collect();
    let body = Tee {
        incoming,
        recording: Some(recording),
        recorder,
        arrived,
    };
    Response::from_parts(head, Body::new(body))
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in LEFT_OUT {
        headers.remove(name);
    }
    headers
}

/// A body that is written down when it has come to its end.
struct Tee {
    incoming: Incoming,
    recording: Option<Recording>,
    recorder: Recorder,
    arrived: Instant,
}

impl http_body::Body for Tee {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        let now = self.arrived.elapsed();
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(recording), Some(data)) = (&mut self.recording, frame.data_ref()) {
                    recording.chunks.push(Piece::new(now, data));
                }
            }
            // An answer that broke off is not replayed.
            Some(Err(_)) => self.recording = None,
            None => {}
        }
        if (frame.is_none() || self.incoming.is_end_stream())
            && let Some(recording) = self.recording.take()
        {
            self.recorder.write(&recording);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.recording.is_none() && self.incoming.is_end_stream()
    }
}

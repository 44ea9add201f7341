//! Accepts connections and serves them, on one thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::alarm;
use crate::body::Reply;
use crate::connection::{Connection, Peer};
use crate::routes::{Arrived, chat, is_chat};
use crate::state::Mock;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when the process has no file descriptor left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What a server is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Serve,
    /// Accept nothing new, finish what is open.
    Drain,
    /// Drop everything.
    Close,
}

/// What it takes to serve a connection.
#[derive(Clone)]
pub(crate) struct Acceptor {
    pub(crate) router: Router,
    /// Answers chat completions without a way through the router, which is a sixth of their time.
    pub(crate) direct: Option<Arc<Mock>>,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) grace: Duration,
}

impl Acceptor {
    /// Serves until stopped; then finishes what is open, for as long as the grace lasts.
    pub(crate) async fn run(
        self,
        listener: std::net::TcpListener,
        mut orders: watch::Receiver<Order>,
    ) -> io::Result<()> {
        tokio::spawn(alarm::keep());
        let listener = TcpListener::from_std(listener)?;
        let open = GracefulShutdown::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((tcp, _)) => self.spawn(tcp, open.watcher()),
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                },
                _ = orders.wait_for(|order| *order != Order::Serve) => break,
            }
        }
        self.accept_backlog(&listener, &open).await;
        drop(listener);
        tokio::select! {
            _ = timeout(self.grace, open.shutdown()) => {}
            _ = orders.wait_for(|order| *order == Order::Close) => {}
        }
        Ok(())
    }

    /// Takes the connections that the kernel has accepted already: closing the socket would
    /// reset them.
    async fn accept_backlog(&self, listener: &TcpListener, open: &GracefulShutdown) {
        while let Ok(Ok((tcp, _))) = timeout(Duration::ZERO, listener.accept()).await {
            self.spawn(tcp, open.watcher());
        }
    }

    fn spawn(&self, tcp: TcpStream, watcher: Watcher) {
        let acceptor = self.clone();
        tokio::spawn(async move {
            // Without it a chunk may wait for the acknowledgement of the one before.
            if tcp.set_nodelay(true).is_err() {
                return;
            }
            let connection = Connection::new(tcp);
            let peer = connection.peer();
            match &acceptor.tls {
                None => acceptor.serve(connection, peer, watcher).await,
                Some(tls) => {
                    let handshake = timeout(HANDSHAKE_TIMEOUT, tls.accept(connection));
                    if let Ok(Ok(stream)) = handshake.await {
                        acceptor.serve(stream, peer, watcher).await;
                    }
                }
            }
        });
    }

    async fn serve<S>(&self, stream: S, peer: Peer, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = TowerToHyperService::new(self.router.clone());
        let direct = self.direct.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let peer = peer.clone();
            let way = match &direct {
                Some(mock) if is_chat(&request) => Ok(Arc::clone(mock)),
                _ => Err(router.clone()),
            };
            async move {
                match way {
                    Ok(mock) => Ok(chat(Arrived::new(mock, request, Some(peer))).await),
                    Err(router) => {
                        request.extensions_mut().insert(peer);
                        let answer = router.call(request).await;
                        answer.map(|answer| answer.map(Reply::Other))
                    }
                }
            }
        });
        let connection = http1::Builder::new()
            // Chunks are small: to copy them into one buffer costs less than to write many.
            .writev(false)
            .serve_connection(TokioIo::new(stream), service);
        // It ends by the client's leaving or by a reset that was asked for; both are counted
        // where they are noticed.
        let _ = watcher.watch(connection).await;
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

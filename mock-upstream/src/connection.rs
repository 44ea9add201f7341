//! A client's TCP connection, which others may look at while the server uses it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[derive(Debug)]
struct Link {
    tcp: Mutex<TcpStream>,
    reset: AtomicBool,
    parting: Mutex<Option<Bytes>>,
}

impl Link {
    fn tcp(&self) -> MutexGuard<'_, TcpStream> {
        self.tcp.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server's side of a connection: reads, writes and closes it.
#[derive(Debug)]
pub(crate) struct Connection(Arc<Link>);

/// Whoever is at the other end of a [`Connection`].
#[derive(Debug, Clone)]
pub(crate) struct Peer(Weak<Link>);

impl Connection {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self(Arc::new(Link {
            tcp: Mutex::new(tcp),
            reset: AtomicBool::new(false),
            parting: Mutex::default(),
        }))
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer(Arc::downgrade(&self.0))
    }
}

impl Peer {
    /// Whether the client has closed its side, as the kernel knows it: at once, also when the
    /// server has not come round to read the end yet.
    pub(crate) fn has_left(&self) -> bool {
        let Some(link) = self.0.upgrade() else {
            return true;
        };
        let tcp = link.tcp();
        let mut sockets = [PollFd::new(&*tcp, PollFlags::RDHUP)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // Without RDHUP among the results nothing is known, and the client counts as present.
        poll(&mut sockets, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    /// Where the connection comes from, as long as it is open.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.upgrade()?.tcp().peer_addr().ok()
    }

    /// Makes the connection end by a TCP reset, not by an orderly close.
    pub(crate) fn reset_when_closed(&self) {
        if let Some(link) = self.0.upgrade() {
            link.reset.store(true, Ordering::Release);
        }
    }
}

impl Peer {
    /// Sends bytes that belong to no answer just before the connection is closed.
    pub(crate) fn send_when_closed(&self, bytes: Bytes) {
        if let Some(link) = self.0.upgrade() {
            let mut parting = link.parting.lock().unwrap_or_else(PoisonError::into_inner);
            *parting = Some(bytes);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.0.reset.load(Ordering::Acquire) {
            // Should it fail, the close is an orderly one: still an end.
            let _ = set_socket_linger(&*self.0.tcp(), Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.tcp()).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.tcp()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.tcp()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.tcp()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let parting = self.0.parting.lock();
        let mut parting = parting.unwrap_or_else(PoisonError::into_inner);
        while let Some(bytes) = parting.as_mut().filter(|bytes| !bytes.is_empty()) {
            let written = ready!(Pin::new(&mut *self.0.tcp()).poll_write(cx, bytes))?;
            bytes.advance(written);
        }
        Pin::new(&mut *self.0.tcp()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let client = TcpStream::connect(listener.local_addr().expect("address"));
        let (client, accepted) = tokio::join!(client, listener.accept());
        (
            client.expect("connect"),
            Connection::new(accepted.expect("accept").0),
        )
    }

    #[tokio::test]
    async fn a_peer_is_seen_to_leave_though_its_data_is_unread() {
        let (client, connection) = pair().await;
        let peer = connection.peer();
        assert!(!peer.has_left());
        client.writable().await.expect("writable");
        client.try_write(b"unread").expect("write");
        assert!(!peer.has_left());
        drop(client);
        assert!(peer.has_left());
    }

    #[tokio::test]
    async fn a_closed_connection_has_no_peer() {
        let (_client, connection) = pair().await;
        let peer = connection.peer();
        drop(connection);
        assert!(peer.has_left());
    }
}

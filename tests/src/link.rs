//! A way to a server that can be made long, blocked in either direction, or cut.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all();
    builder.build().expect("a thread for the links")
});

/// What becomes of the bytes in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// They pass.
    #[default]
    Open,
    /// Each passes so much later.
    Late(Duration),
    /// They pass when the way is open again, as what TCP sends again does.
    Held,
    /// They are lost. When the way is open again, the connections turn out to be gone.
    Lost,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    there: Way,
    back: Way,
    /// How often all connections were cut.
    cuts: u64,
}

/// A port that leads to a server's. Dropping it cuts all connections.
pub struct Link {
    port: u16,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// A way to this port, open in both directions.
    pub fn to(server: u16) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("a socket's mode");
        let (state, seen) = watch::channel(State::default());
        let accepting = RUNTIME.spawn(accept(listener, (Ipv4Addr::LOCALHOST, server).into(), seen));
        Self {
            port,
            state,
            accepting,
        }
    }

    /// The port at this end.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets what becomes of bytes to the server, and of its answers.
    pub fn set(&self, there: Way, back: Way) {
        self.state.send_modify(|state| {
            let gone = |before, after| before == Way::Lost && after != Way::Lost;
            if gone(state.there, there) || gone(state.back, back) {
                state.cuts += 1;
            }
            (state.there, state.back) = (there, back);
        });
    }

    /// Resets all connections; new ones are welcome.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: std::net::TcpListener,
    server: SocketAddr,
    state: watch::Receiver<State>,
) {
    let listener = TcpListener::from_std(listener).expect("a socket of the runtime");
    loop {
        if let Ok((near, _)) = listener.accept().await {
            tokio::spawn(carry(near, server, state.clone()));
        }
    }
}

/// Carries a connection until both ends have closed, or one of them fails.
async fn carry(mut near: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    let cuts = state.borrow_and_update().cuts;
    let there = state.clone();
    let back = state.clone();
    let both = async {
        let mut far = TcpStream::connect(server).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (near_reads, near_writes) = near.split();
        let (far_reads, far_writes) = far.split();
        tokio::try_join!(
            pump(near_reads, far_writes, there, |state| state.there),
            pump(far_reads, near_writes, back, |state| state.back),
        )
    };
    let ended = tokio::select! {
        ended = both => ended.is_ok(),
        // Or the link is no more.
        _ = state.wait_for(|state| state.cuts != cuts) => false,
    };
    if !ended {
        let _ = set_socket_linger(&near, Some(Duration::ZERO));
    }
}

fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    way: fn(&State) -> Way,
) -> impl Future<Output = io::Result<()>> {
    let (sender, mut queue) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        loop {
            let mut chunk = vec![0; 16 * 1024];
            let length = from.read(&mut chunk).await?;
            chunk.truncate(length);
            if length == 0 || sender.send((Instant::now(), chunk)).is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, bytes)) = queue.recv().await {
            loop {
                let now = way(&state.borrow_and_update());
                match now {
                    Way::Held => {
                        let changed = state.changed().await;
                        changed.map_err(|_| io::ErrorKind::ConnectionReset)?;
                        continue;
                    }
                    Way::Lost => break,
                    Way::Late(by) => sleep_until(at + by).await,
                    Way::Open => {}
                }
                to.write_all(&bytes).await?;
                break;
            }
        }
        to.shutdown().await
    };
    async { tokio::try_join!(read, write).map(|_| ()) }
}

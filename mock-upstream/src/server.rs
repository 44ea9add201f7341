//! A running mock on threads of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::watch;

use crate::accept::{Acceptor, Order};
use crate::listen;
use crate::overlap::Overlap;
use crate::routes::{Mock, router};
use crate::scenario::Scenario;
use crate::stats::Stats;
use crate::tls::Tls;

/// How long open answers may take to end after a stop was asked for, unless told otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// A server that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken, not ours, or not allowed.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The system has no thread or no file descriptor left.
    #[error("cannot start a serving thread: {0}")]
    Thread(io::Error),
}

/// What is to be served, and where.
#[derive(Debug)]
pub struct Server {
    scenario: Scenario,
    address: SocketAddr,
    tls: Option<Tls>,
    threads: Option<NonZeroUsize>,
    grace: Duration,
}

impl Server {
    /// A server on a free port of 127.0.0.1, without TLS, with a thread for every core.
    pub fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            threads: None,
            grace: DEFAULT_GRACE,
        }
    }

    /// Sets the address; port 0 takes a free one.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Serves HTTPS instead of HTTP.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the number of threads, each with a runtime and a listening socket of its own.
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets how long open answers may take to end after a stop was asked for.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts the server. It listens when this returns, so that a client may connect at once.
    pub fn start(self) -> Result<MockServer, ServerError> {
        let threads = self
            .threads
            .or_else(|| thread::available_parallelism().ok());
        let threads = threads.unwrap_or(NonZeroUsize::MIN);
        let refused = |error| ServerError::Listen {
            address: self.address,
            error,
        };
        let listeners = listen::open_all(self.address, threads).map_err(refused)?;
        let address = listeners[0].local_addr().map_err(refused)?;

        let mock = Mock::new(self.scenario);
        let acceptor = Acceptor {
            router: router(Arc::clone(&mock)),
            tls: self.tls.as_ref().map(Tls::acceptor),
            grace: self.grace,
        };
        let (orders, _) = watch::channel(Order::Serve);
        let mut server = MockServer {
            mock,
            address,
            https: self.tls.is_some(),
            orders,
            threads: Vec::new(),
        };
        for listener in listeners {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(ServerError::Thread)?;
            let (acceptor, orders) = (acceptor.clone(), server.orders.subscribe());
            let thread = thread::Builder::new()
                .name("mock-upstream".to_owned())
                .spawn(move || runtime.block_on(acceptor.run(listener, orders)))
                .map_err(ServerError::Thread)?;
            server.threads.push(thread);
        }
        Ok(server)
    }
}

/// A mock that is being served by threads of its own: it can be used from synchronous and from
/// asynchronous code alike. Dropping it closes every connection.
#[derive(Debug)]
pub struct MockServer {
    mock: Arc<Mock>,
    address: SocketAddr,
    https: bool,
    orders: watch::Sender<Order>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl MockServer {
    /// Serves a scenario on a free port of 127.0.0.1; see [`Server`] for more choice.
    pub fn start(scenario: Scenario) -> Result<Self, ServerError> {
        Server::new(scenario).start()
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS` or `https://ADDRESS`; an OpenAI client's base URL is this and `/v1`.
    pub fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// What has arrived so far.
    pub fn stats(&self) -> Stats {
        self.mock.witness.stats()
    }

    /// Where a key had more requests in flight than the scenario's
    /// [`slots`](Scenario::slots), by time; without that number nothing is recorded.
    pub fn overlaps(&self) -> Vec<Overlap> {
        self.mock.witness.overlaps()
    }

    /// Starts the statistics anew.
    pub fn reset(&self) {
        self.mock.witness.reset();
    }

    /// Stops accepting; open answers go on until they end or the grace is over. Returns at once.
    pub fn drain(&self) {
        self.orders.send_replace(Order::Drain);
    }

    /// Drains, and blocks until all is done. The statistics of the whole run remain.
    pub fn shutdown(mut self) -> Stats {
        self.drain();
        self.join();
        self.stats()
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // A thread that failed has nothing open any more either.
            let _ = thread.join();
        }
    }
}

impl Drop for MockServer {
    fn drop(&mut self) {
        self.orders.send_replace(Order::Close);
        self.join();
    }
}

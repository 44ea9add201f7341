//! A running mock on threads of its own.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::watch;

use crate::accept::{Acceptor, Order};
use crate::clock::Clock;
use crate::file::ScenarioSource;
use crate::listen;
use crate::overlap::Overlap;
use crate::record::Recorder;
use crate::replay::Replay;
use crate::routes::router;
use crate::rule::Rule;
use crate::scenario::{Scenario, ScenarioError};
use crate::state::Mock;
use crate::stats::{Spending, Stats};
use crate::tls::Tls;

/// How long open answers may take to end after a stop was asked for, unless set otherwise.
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
    clock: Clock,
    replay: Option<Replay>,
    recorder: Option<Recorder>,
    watched: Option<(ScenarioSource, OnReload)>,
}

/// Receives every new scenario file, and the errors of those that cannot be read.
pub type OnReload = fn(Result<(), &ScenarioError>);

impl Server {
    /// A server on a free port of 127.0.0.1, without TLS, with a thread for every core.
    pub fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            threads: None,
            grace: DEFAULT_GRACE,
            clock: Clock::real(),
            replay: None,
            recorder: None,
            watched: None,
        }
    }

    /// Sets the clock by which limits are counted.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Answers by a conversation that was recorded, where it has an answer.
    #[must_use]
    pub fn replay(mut self, replay: Replay) -> Self {
        self.replay = Some(replay);
        self
    }

    /// Answers nothing itself, but sends everything on and writes it down.
    #[must_use]
    pub fn record(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Takes the scenario from its file anew whenever that changes.
    #[must_use]
    pub fn watch(mut self, source: ScenarioSource, on_reload: OnReload) -> Self {
        self.watched = Some((source, on_reload));
        self
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

        let mock = Mock::new(self.scenario.clone(), self.clock, self.replay);
        let (router, direct) = match self.recorder {
            Some(recorder) => (recorder.router(), None),
            None => (router(Arc::clone(&mock)), Some(Arc::clone(&mock))),
        };
        let acceptor = Acceptor {
            router,
            direct,
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
            watcher: None,
        };
        if let Some((source, on_reload)) = self.watched {
            let (mock, loaded) = (Arc::clone(&server.mock), self.scenario);
            server.watcher = Some(watch(source, loaded, mock, on_reload)?);
        }
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

fn watch(
    source: ScenarioSource,
    loaded: Scenario,
    mock: Arc<Mock>,
    on_reload: OnReload,
) -> Result<Watcher, ServerError> {
    let (alive, gone) = mpsc::channel();
    let thread = thread::Builder::new().name("mock-scenario".to_owned());
    let thread = thread.spawn(move || {
        let Some(path) = source.file.clone() else {
            return;
        };
        source.watch(&path, loaded, &gone, |changed| {
            on_reload(changed.as_ref().map(|_| ()));
            match changed {
                Ok(scenario) => {
                    mock.replace(scenario);
                    mock.set_file_error(None);
                }
                Err(error) => mock.set_file_error(Some(error)),
            }
        });
    });
    Ok(Watcher {
        thread: thread.map_err(ServerError::Thread)?,
        alive,
    })
}

/// The thread that looks at the scenario file, for as long as this lives.
#[derive(Debug)]
struct Watcher {
    thread: JoinHandle<()>,
    alive: mpsc::Sender<()>,
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
    watcher: Option<Watcher>,
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

    /// What each key has spent, by [`key_hash`](crate::key_hash).
    pub fn ledger(&self) -> BTreeMap<String, Spending> {
        self.mock.witness.ledger()
    }

    /// The last requests, as `/__mock/requests` shows them.
    pub fn requests(&self) -> Vec<serde_json::Value> {
        let entries = self.mock.journal.entries();
        let json = entries.iter().map(|entry| serde_json::to_value(&**entry));
        // Entries always serialize.
        json.filter_map(Result::ok).collect()
    }

    /// Puts another scenario in the place of the one in force.
    pub fn set_scenario(&self, scenario: Scenario) {
        self.mock.replace(scenario);
    }

    /// Adds a fault to those in force.
    pub fn add_fault(&self, rule: Rule) {
        self.mock.add_rules(vec![rule]);
    }

    /// Starts everything that is counted anew.
    pub fn reset(&self) {
        self.mock.reset();
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
        if let Some(Watcher { thread, alive }) = self.watcher.take() {
            drop(alive);
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

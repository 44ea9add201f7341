//! The environment of a group: connections, two timers, a clock and a log.

use std::io;

use openai_core::redlock::{ErrorKind, NodeId};

/// An established or pending connection to a node. It never blocks; dropping it closes it.
pub trait Connection {
    /// Whether it is established; `Ok(false)` while that is undecided. Over TLS it is
    /// established once the handshake has succeeded.
    fn connected(&mut self) -> io::Result<bool>;

    /// Sends a prefix of the bytes and returns its length; zero when nothing can be sent
    /// now.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Reads what has arrived; zero at the end of the stream, [`io::ErrorKind::WouldBlock`]
    /// when nothing has arrived.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

/// The environment of a group. Each group has its own.
pub trait Transport {
    /// The address of a node.
    type Target;
    /// A connection to a node.
    type Connection: Connection;

    /// Begins to connect to a node. [`crate::Group::node_event`] must be called when that
    /// has succeeded or failed, and whenever the connection may be read or written again.
    fn connect(&mut self, target: &Self::Target, node: NodeId) -> io::Result<Self::Connection>;

    /// Starts or restarts a timer: the function named at [`GroupTimer`] must be called after
    /// `after_ms` milliseconds.
    fn start(&mut self, timer: GroupTimer, after_ms: u64);

    /// A monotonic clock in microseconds, by which round trips are measured.
    fn clock_us(&self) -> u64;

    /// Logs a change of a node's state; `node` is its name.
    fn log(&mut self, node: &str, event: NodeEvent<'_>);
}

/// The timers of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupTimer {
    /// When due, call [`crate::Group::timeouts`].
    Timeout,
    /// When due, call [`crate::Group::wake`].
    Wake,
}

/// A change of a node's state, to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeEvent<'a> {
    /// The connection failed, or could not be established. Reported once until the node is up
    /// again.
    Down {
        /// The error.
        reason: &'a str,
    },
    /// The node is connected again.
    Up,
    /// The node answers commands with this error, so it does not vote.
    Failing {
        /// The error.
        error: ErrorKind,
    },
    /// The node votes again.
    Voting,
    /// The node's clock was set forward, so the node may have lost locks.
    ClockJumped {
        /// By how many milliseconds at least.
        by_ms: u64,
    },
}

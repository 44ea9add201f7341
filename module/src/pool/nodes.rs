//! Groups of Redis nodes on nginx's event loop: their connections, timers and log.

use std::io;
use std::time::Instant;

use nginx_safe::{Level, Timer};
use openai_core::redlock::NodeId;
use redis_nodes::{GroupTimer, NodeEvent, Transport};
use serde_json::json;

use crate::config::NodeAddress;
use crate::pool::node_connection::{Addresses, NodeConnection};
use crate::telemetry::event;

/// A group of nodes on nginx's event loop.
pub type Group = redis_nodes::Group<NginxTransport>;

/// Milliseconds of the monotonic clock. Reads the clock instead of nginx's cached time,
/// which may be too old to decide whether a lock is still valid.
pub fn clock() -> u64 {
    nginx_safe::monotonic_ms()
}

/// The reason for calling a group. It is passed through nginx as a number.
pub enum Call {
    /// The connection to a node can be read or written, or has failed.
    Node(usize),
    /// A timer is due.
    Timer(GroupTimer),
}

const TIMEOUT: u64 = 0xff;
const WAKE: u64 = 0xfe;

impl Call {
    /// Decodes the group's number and the reason from an argument.
    pub fn of(argument: u64) -> (usize, Self) {
        let call = match argument & 0xff {
            TIMEOUT => Self::Timer(GroupTimer::Timeout),
            WAKE => Self::Timer(GroupTimer::Wake),
            node => Self::Node(node as usize),
        };
        ((argument >> 8) as usize, call)
    }
}

/// The transport of one group.
pub struct NginxTransport {
    call: fn(u64),
    /// Argument for the first node of the group.
    base: u64,
    timeout: Timer,
    wake: Timer,
    addresses: Addresses,
    /// Start of [`Transport::clock_us`].
    origin: Instant,
}

impl NginxTransport {
    /// The transport of the group with this number. `call` receives the arguments that
    /// [`Call::of`] decodes.
    pub fn new(group: usize, call: fn(u64)) -> Self {
        let base = (group as u64) << 8;
        Self {
            call,
            base,
            timeout: Timer::new(true, call, base + TIMEOUT),
            wake: Timer::new(true, call, base + WAKE),
            addresses: Addresses::default(),
            origin: Instant::now(),
        }
    }
}

impl Transport for NginxTransport {
    type Target = NodeAddress;
    type Connection = NodeConnection;

    fn connect(&mut self, target: &NodeAddress, node: NodeId) -> io::Result<NodeConnection> {
        let argument = self.base + u64::from(node.0);
        NodeConnection::start(target, node, &self.addresses, (self.call, argument))
    }

    fn start(&mut self, timer: GroupTimer, after_ms: u64) {
        let timer = match timer {
            GroupTimer::Timeout => &mut self.timeout,
            GroupTimer::Wake => &mut self.wake,
        };
        timer.start(after_ms);
    }

    fn clock_us(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }

    fn log(&mut self, node: &str, what: NodeEvent<'_>) {
        let (level, name, fields) = match what {
            NodeEvent::Down { reason } => {
                let fields = json!({ "node": node, "reason": reason });
                (Level::Error, "redis_node_down", fields)
            }
            NodeEvent::Up => (Level::Warn, "redis_node_up", json!({ "node": node })),
            NodeEvent::Failing { error } => {
                let fields = json!({ "node": node, "error": error.as_str() });
                (Level::Error, "redis_node_failing", fields)
            }
            NodeEvent::Voting => (Level::Warn, "redis_node_voting", json!({ "node": node })),
            NodeEvent::ClockJumped { by_ms } => {
                let fields = json!({ "node": node, "by_ms": by_ms });
                (Level::Error, "redis_node_clock_jumped", fields)
            }
        };
        event(level, name, fields);
    }
}

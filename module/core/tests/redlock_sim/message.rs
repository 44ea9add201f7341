//! Messages between clients and the world.

use openai_core::redlock::{Command, NodeId, Operation, ServerInfo, Slot, Value};

/// The state machine that a message belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Topic {
    Attempt(u64),
    Renewal(u64),
    Release(u64),
    /// An operation on a service lock.
    Keep(Operation),
    /// The release of a service lock, by its index.
    Settle(u64, usize),
    Stray,
    Probe,
}

/// A command, or `PING`.
pub type Request = Option<Command>;

#[derive(Clone, Debug)]
pub enum Response {
    Value(Value),
    /// The connection broke, and a new one returned this `INFO`.
    Reset(ServerInfo),
}

#[derive(Clone, Debug)]
pub enum Timer {
    Ask(Vec<Slot>),
    Abandon(u64),
    AttemptTimeout(u64),
    Renew(u64),
    RenewalTimeout(u64),
    GiveBack(u64),
    /// No lock was handed over: ask the nodes.
    WaitedOut,
    /// A lock has been handed over.
    Mail,
    /// A call for a service lock.
    Serve,
    /// Maintenance of service locks.
    Tend,
    KeepTimeout(Operation),
    Probe(NodeId),
    ProbeTimeout(NodeId),
}

/// An effect of a client on the world.
#[derive(Debug)]
pub enum Output {
    Send(NodeId, Topic, Request),
    /// A timer in that many milliseconds.
    Timer(u64, Timer),
    /// Notifies another worker of the machine at once.
    Tell(usize, Timer),
}

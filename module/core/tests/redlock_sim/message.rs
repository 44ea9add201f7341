//! What passes between clients and the world.

use openai_core::redlock::{Command, NodeId, Operation, ServerInfo, Slot, Value};

/// What a message belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Topic {
    Attempt(u64),
    Renewal(u64),
    Release(u64),
    /// An operation on a lock of a service.
    Keep(Operation),
    /// The release of a lock of a service, by its place in the machine's list.
    Settle(u64, usize),
    Stray,
    Probe,
}

/// A command, or `PING`.
pub type Request = Option<Command>;

#[derive(Clone, Debug)]
pub enum Response {
    Value(Value),
    /// The connection broke; a new one was made and this is its `INFO`.
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
    /// Nobody has handed a lock over: ask the nodes.
    WaitedOut,
    /// A lock has been handed over.
    Mail,
    /// Somebody calls for a lock of a service.
    Serve,
    /// Locks of services are seen to.
    Tend,
    KeepTimeout(Operation),
    Probe(NodeId),
    ProbeTimeout(NodeId),
}

/// What a client does to the world.
#[derive(Debug)]
pub enum Output {
    Send(NodeId, Topic, Request),
    /// In so many milliseconds.
    Timer(u64, Timer),
    /// Another worker of the machine is told at once.
    Tell(usize, Timer),
}

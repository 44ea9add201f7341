//! What passes between clients and the world.

use openai_core::redlock::{Command, NodeId, ServerInfo, Slot, Value};

/// What a message belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Topic {
    Attempt(u64),
    Renewal(u64),
    Release(u64),
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
    Probe(NodeId),
    ProbeTimeout(NodeId),
}

/// What a client does to the world.
#[derive(Debug)]
pub enum Output {
    Send(NodeId, Topic, Request),
    /// In so many milliseconds.
    Timer(u64, Timer),
}

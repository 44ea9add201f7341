//! Groups of independent Redis servers that keep locks: connections, attempts to take
//! locks, renewals, releases and the queue of all machines.
//!
//! [`Group`] is a state machine over a [`Transport`]: it has no socket, clock, thread or
//! event loop. Its owner passes in time, tells it which connection has something to read
//! or write, and acts on the [`GroupEvent`]s that every call returns. The decisions (votes,
//! validity, fences, circuits) are in [`openai_core::redlock`].
#![forbid(unsafe_code)]

mod call;
mod commands;
mod group;
mod link;
mod node;
mod transport;

#[cfg(test)]
mod tests;

pub use commands::SlotCommands;
pub use group::{AttemptKey, Counts, GiveBack, Group, GroupEvent, Kept, LockRequest, Setup};
pub use node::{NodeCounts, NodeReport, NodeState, NodeTarget};
pub use transport::{Connection, GroupTimer, NodeEvent, Transport};

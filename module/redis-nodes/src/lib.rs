//! Groups of independent Redis servers that keep locks: connections, attempts to take locks,
//! renewals, releases, and a queue shared by all machines.
//!
//! [`Group`] is a state machine over a [`Transport`]: it has no socket, clock, thread or event
//! loop. Its owner passes in the time, reports when a connection can be read or written, and
//! handles the [`GroupEvent`]s that calls append. The decisions (votes, validity, fences, circuits)
//! are in [`openai_core::redlock`].
#![forbid(unsafe_code)]

mod addresses;
mod call;
mod commands;
mod group;
mod link;
mod node;
mod transport;

#[cfg(test)]
mod tests;

pub use addresses::Addresses;
pub use commands::SlotCommands;
pub use group::{GiveBack, Group, GroupCounts, GroupEvent, Kept, LockRequest, Operation, Setup};
pub use node::{NodeCounts, NodeReport, NodeState, NodeTarget};
pub use transport::{Connection, GroupTimer, NodeEvent, Transport};

//! Redlock: exclusive leases on slots over N independent Redis masters.
//!
//! A slot of a key is one lock of capacity 1, held by whoever has its nonce on a
//! quorum of the *configured* nodes. Here are the parts that decide: the names of
//! the Redis keys ([`PoolNames`]), the scripts that a node runs ([`Script`],
//! [`Command`]), what it answers ([`Value`], [`reply`]), and state machines that
//! turn votes into leases ([`Acquire`], [`Renewal`], [`Release`]). The caller owns
//! connections, timers, clocks and randomness.
//!
//! All instants are milliseconds of one monotonic clock of the caller's, read at
//! the call (not a time cached by an event loop: a lease believed valid because
//! the clock was not looked at is a lease held by two).
//!
//! What exclusivity rests on:
//! * A lease is valid until `start + ttl - drift`, counted from before the first
//!   command was sent, and nobody acts on it later.
//! * A node that lost its memory grants nothing until every lease it may have
//!   known has ended: by the guard key (empty memory) and by [`Incarnation`]
//!   (memory restored from an old snapshot).
//! * N never changes; a node that fails still counts in it.
//!
//! Fences grow from grant to grant of a slot because two quorums share a node. If
//! that node lost its memory in between, they still grow as long as the wall
//! clocks of the clients agree to within a quarter of the TTL.

mod acquire;
mod attempt;
mod call;
mod command;
mod fence;
mod health;
mod incarnation;
mod lease;
mod listing;
mod names;
mod node;
mod operations;
mod outage;
mod proposal;
mod release;
mod renewal;
pub mod reply;
pub mod resp;
mod script;
pub mod share;
mod slots;
mod take;
mod tally;
mod timing;
mod trial;
mod value;

pub use acquire::Acquire;
pub use attempt::{Action, Attempt, Event, Failure};
pub use call::ScriptCall;
pub use command::{Command, Enlist, Priority, ReleaseCommand, RenewCommand};
pub use fence::{Fence, FenceClock};
pub use health::{CircuitPolicy, NodeHealth};
pub use incarnation::{Durability, Incarnation, Mistrust, ServerInfo};
pub use lease::{Lease, Nonce};
pub use listing::{HeldSlot, Listing};
pub use names::{NameError, PoolNames, ShareNames};
pub use node::{MAX_NODES, NodeId, NodeSet, Quorum};
pub use operations::{Operation, Operations};
pub use outage::{MAX_RECALLED, Outage};
pub use proposal::{Holder, Proposal};
pub use release::{Release, ReleaseAction, ReleaseEvent, Unlocked};
pub use renewal::{Renewal, RenewalAction, RenewalEvent};
pub use script::Script;
pub use slots::{Candidates, CandidatesError, MAX_CANDIDATES, Slot, SlotSet};
pub use take::TakeCall;
pub use timing::{Drift, RetryDelay, Timing};
pub use trial::{Trial, TrialNews, first_error};
pub use value::{ErrorKind, Value};

#[cfg(test)]
mod tests;

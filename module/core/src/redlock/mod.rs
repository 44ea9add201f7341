//! Redlock: exclusive locks on slots over N independent Redis masters.
//!
//! A slot of a key is one lock of capacity 1, held by the client whose nonce is on a quorum of the
//! *configured* nodes. This module makes the decisions: the names of the Redis keys
//! ([`PoolNames`]), the scripts that a node runs ([`Script`], [`Command`]), its answers ([`Value`],
//! [`reply`]), and state machines that turn votes into locks ([`Acquisition`], [`Renewal`],
//! [`Unlock`]). The caller provides connections, timers, clocks and randomness.
//!
//! All times are milliseconds of one monotonic clock of the caller, read at the time of the call.
//! A time cached by an event loop is not sufficient: with a stale time a lock could seem valid
//! after it has ended.
//!
//! Exclusivity relies on these rules:
//!
//! - A lock is valid until `start + ttl - drift`, where `start` is before the first command was
//!   sent. The holder does not use it later.
//! - A node that has lost its data grants nothing until every lock it may have granted has ended.
//!   The guard key detects an empty node, [`Incarnation`] a node restored from an old snapshot.
//! - N never changes; a failed node still counts in it.
//!
//! Fences increase from grant to grant of a slot because any two quorums share a node. If that node
//! has lost its data in between, fences still increase as long as the wall clocks of the clients
//! differ by less than a quarter of the TTL.

mod acquire;
mod attempt;
mod call;
mod command;
mod cool_down;
mod fence;
mod health;
mod incarnation;
mod lease;
mod names;
mod node;
mod node_check;
mod node_clock;
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
mod value;

pub use acquire::Acquisition;
pub use attempt::{AcquireAction, AcquireEvent, AcquireFailure, AcquireOptions};
pub use call::ScriptCall;
pub use command::{Command, Enlist, Priority, ReleaseCommand, RenewCommand};
pub use cool_down::{CoolDown, MAX_RECALLED};
pub use fence::{Fence, FenceClock};
pub use health::{NodeHealth, SuspectPolicy};
pub use incarnation::{Incarnation, Mistrust, ServerInfo};
pub use lease::{Nonce, SlotLock};
pub use names::{NameError, PoolNames, ShareNames};
pub use node::{MAX_NODES, NodeId, NodeSet, Quorum};
pub use node_check::{NodeCheck, NodeCheckChange, first_error};
pub use node_clock::{GUARD_EXPIRY_MS, NodeClock, node_time};
pub use proposal::{Holder, Proposal};
pub use release::{ReleaseEvent, Unlock};
pub use renewal::{Renewal, RenewalAction, RenewalEvent};
pub use script::Script;
pub use slots::{Candidates, MAX_CANDIDATES, Slot, SlotSet};
pub use take::TakeCall;
pub use timing::{Drift, RetryDelay, TimesError, Timing, check_times};
pub use value::{ErrorKind, Value};

#[cfg(test)]
mod tests;

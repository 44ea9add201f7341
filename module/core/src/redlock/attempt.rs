//! Input and output of an attempt to acquire a lock.

use super::command::{Command, ReleaseCommand};
use super::lease::SlotLock;
use super::node::{NodeId, NodeSet, Quorum};
use super::proposal::Proposal;
use super::reply::Ballot;
use super::slots::SlotSet;
use super::timing::{Drift, RetryDelay};
use super::value::ErrorKind;

/// Parameters of an attempt.
#[derive(Clone, Debug)]
pub struct AcquireOptions {
    /// Quorum of the configured nodes.
    pub quorum: Quorum,
    /// The nodes to ask: all that are neither suspect nor mistrusted. The others count as failed.
    pub ask: NodeSet,
    /// The proposal.
    pub proposal: Proposal,
    /// Allowance for clock drift, subtracted from the TTL.
    pub drift: Drift,
    /// Delay after a split vote.
    pub retry: RetryDelay,
    /// Random number for that delay.
    pub random: u64,
}

/// An event of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcquireEvent {
    /// A node voted, in time or late.
    Voted(NodeId, Ballot),
    /// A node answered with an error, or its connection broke.
    Erred(NodeId, ErrorKind),
    /// A node did not answer in time.
    TimedOut(NodeId),
    /// The lock is no longer wanted: the client left, or the acquired lock is being released.
    /// Grants that still arrive are released.
    Abandoned,
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquireAction {
    /// Send a command to these nodes and report the answers, each within the node timeout.
    Send {
        /// The nodes.
        to: NodeSet,
        /// The command.
        command: Command,
    },
    /// Release useless grants. The answer does not matter, but on each connection the command
    /// must follow the proposal.
    Release {
        /// The nodes.
        to: NodeSet,
        /// The command.
        command: ReleaseCommand,
    },
    /// The lock is acquired. Late votes still matter.
    Won {
        /// Index of the candidate.
        index: usize,
        /// The lock.
        lease: SlotLock,
    },
    /// The vote was split: try again with these candidates, shuffled again, and with a new nonce
    /// and fence.
    Retry {
        /// Delay before the retry, in milliseconds.
        after_ms: u64,
        /// The candidates, by index.
        candidates: SlotSet,
    },
    /// No lock was acquired.
    Failed(AcquireFailure),
}

/// Why no lock was acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcquireFailure {
    /// Every candidate is held.
    #[error("every candidate is held")]
    Busy {
        /// Milliseconds until the first of the conflicting locks ends unless it is renewed; `None`
        /// if unknown.
        wait_ms: Option<u64>,
    },
    /// Too many nodes failed.
    #[error("too few nodes answered")]
    NoQuorum,
    /// Too many nodes are in quarantine after losing their data.
    #[error("too many nodes are in quarantine, for {wait_ms} ms")]
    Quarantine {
        /// Milliseconds until a quorum is out of quarantine.
        wait_ms: u64,
    },
    /// The votes came so late that the lock would end too soon.
    #[error("the votes came too late")]
    TooLate,
    /// The attempt ended with [`AcquireEvent::Abandoned`].
    #[error("abandoned")]
    Abandoned,
}

//! What goes into an attempt, and what comes out of it.

use super::command::{Command, ReleaseCommand};
use super::lease::Lease;
use super::node::{NodeId, NodeSet, Quorum};
use super::proposal::Proposal;
use super::reply::Ballot;
use super::slots::SlotSet;
use super::timing::{Drift, RetryDelay};
use super::value::ErrorKind;

/// What an attempt is made with.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Of the configured nodes.
    pub quorum: Quorum,
    /// The nodes to ask: all but those that are suspect or mistrusted. The others
    /// count as failed.
    pub ask: NodeSet,
    /// What they are asked.
    pub proposal: Proposal,
    /// What is taken off the TTL.
    pub drift: Drift,
    /// How long to wait after a split vote.
    pub retry: RetryDelay,
    /// A random number, for that.
    pub random: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node voted, in time or late.
    Voted(NodeId, Ballot),
    /// A node answered an error, or its connection broke.
    Erred(NodeId, ErrorKind),
    /// A node did not answer in time.
    TimedOut(NodeId),
    /// Nobody wants the lease any more: the client left, or the lease that was
    /// won is being released. Grants that still arrive are strays.
    Abandoned,
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask these nodes, and tell what they answer; each within the node timeout.
    Send {
        /// The nodes.
        to: NodeSet,
        /// What to ask.
        command: Command,
    },
    /// Give back grants that came to nothing. Nobody waits for the answer, but on
    /// each connection it must follow the proposal.
    Release {
        /// The nodes.
        to: NodeSet,
        /// What to give back.
        command: ReleaseCommand,
    },
    /// The lease is ours. Late votes still matter.
    Won {
        /// Which candidate.
        index: usize,
        /// The lease.
        lease: Lease,
    },
    /// Votes were split: try again with these candidates, shuffled anew, and with
    /// a new nonce and fence.
    Retry {
        /// How long to wait first.
        after_ms: u64,
        /// The candidates, by their index.
        candidates: SlotSet,
    },
    /// No lease.
    Failed(Failure),
}

/// Why there is no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Every candidate is held.
    #[error("every candidate is held")]
    Busy {
        /// When the first of the leases in the way ends unless it is renewed.
        wait_ms: Option<u64>,
    },
    /// Too many nodes failed.
    #[error("too few nodes answered")]
    NoQuorum,
    /// Too many nodes came back empty not long ago.
    #[error("too many nodes are in quarantine, for {wait_ms} ms")]
    Quarantine {
        /// When a quorum is out of quarantine.
        wait_ms: u64,
    },
    /// The votes came too late for the lease to be of use.
    #[error("the votes came too late")]
    TooLate,
    /// [`Event::Abandoned`].
    #[error("abandoned")]
    Abandoned,
}

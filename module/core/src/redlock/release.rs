//! Releasing a lease on every node.

use super::command::{Command, ReleaseCommand};
use super::lease::Lease;
use super::node::{NodeId, NodeSet, Quorum};

/// An event of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseEvent {
    /// A node released that many slots.
    Answered(NodeId, u64),
    /// A node answered with an error, or not in time.
    Failed(NodeId),
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseAction {
    /// Send a command to these nodes, including those that seemed to fail.
    Send {
        /// The nodes.
        to: NodeSet,
        /// The command.
        command: Command,
    },
    /// The release is complete.
    Done(Unlocked),
}

/// Result of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlocked {
    /// A quorum had the lease and has released it.
    Released,
    /// No quorum had the lease: it had expired.
    NotHeld,
    /// Too few nodes answered. Where the lease was not released it expires.
    Unknown,
}

/// A release under way.
#[derive(Debug)]
pub struct Release {
    quorum: Quorum,
    pending: NodeSet,
    released: u8,
    not_held: u8,
    done: bool,
}

impl Release {
    /// A release on every configured node, for callers that send the commands themselves.
    #[must_use]
    pub fn of(quorum: Quorum) -> Self {
        Self {
            quorum,
            pending: quorum.all(),
            released: 0,
            not_held: 0,
            done: false,
        }
    }

    /// Starts a release on every configured node: also a node that never answered may have the
    /// lease. Set `retold` if renewals may still be under way.
    #[must_use]
    pub fn new(quorum: Quorum, lease: &Lease, retold: bool) -> (Self, ReleaseAction) {
        let release = Self::of(quorum);
        let command = Command::Release(ReleaseCommand {
            slots: [lease.slot.clone()].into(),
            nonce: lease.nonce,
            ends: Some(lease.fence).filter(|_| retold),
        });
        let to = release.pending;
        (release, ReleaseAction::Send { to, command })
    }

    /// Whether all nodes have answered or failed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether no node has the lock any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.released + self.not_held == self.quorum.nodes()
    }

    /// Processes an event.
    #[must_use]
    pub fn step(&mut self, event: ReleaseEvent) -> Option<ReleaseAction> {
        let (ReleaseEvent::Answered(node, _) | ReleaseEvent::Failed(node)) = event;
        if !self.pending.remove(node) {
            return None;
        }
        match event {
            ReleaseEvent::Answered(_, 0) => self.not_held += 1,
            ReleaseEvent::Answered(..) => self.released += 1,
            ReleaseEvent::Failed(_) => {}
        }
        let needed = self.quorum.needed();
        let outcome = if self.released >= needed {
            Unlocked::Released
        } else if self.not_held > self.quorum.spare() {
            Unlocked::NotHeld
        } else if self.pending.is_empty() {
            Unlocked::Unknown
        } else {
            return None;
        };
        if self.done {
            return None;
        }
        self.done = true;
        Some(ReleaseAction::Done(outcome))
    }
}

//! Giving a lease back, on every node.

use super::command::{Command, ReleaseCommand};
use super::lease::Lease;
use super::node::{NodeId, NodeSet, Quorum};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseEvent {
    /// A node gave up so many slots.
    Answered(NodeId, u64),
    /// A node answered an error, or nothing in time.
    Failed(NodeId),
}

/// What the caller must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseAction {
    /// Ask these nodes, also those that seemed to fail.
    Send {
        /// The nodes.
        to: NodeSet,
        /// What to ask.
        command: Command,
    },
    /// What became of it.
    Done(Unlocked),
}

/// What became of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlocked {
    /// A quorum had the lease and gave it up.
    Released,
    /// No quorum had the lease: it had expired.
    NotHeld,
    /// Too few nodes answered to tell. Where it was not given up it expires.
    Unknown,
}

/// One release.
#[derive(Debug)]
pub struct Release {
    quorum: Quorum,
    pending: NodeSet,
    released: u8,
    not_held: u8,
    done: bool,
}

impl Release {
    /// A release on every configured node, whose commands the caller makes itself.
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

    /// Starts a release, on every configured node: also a node that never seemed
    /// to grant the lease may have it. `retold` if nodes may yet be told to prolong it.
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

    /// Takes note of an event.
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

//! Releasing a lock on every node.

use super::node::{NodeId, NodeSet, Quorum};

/// An event of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseEvent {
    /// A node released that many slots.
    Answered(NodeId, u64),
    /// A node answered with an error, or not in time.
    Failed(NodeId),
}

/// A release under way.
#[derive(Debug)]
pub struct Unlock {
    quorum: Quorum,
    pending: NodeSet,
    released: u8,
    not_held: u8,
    done: bool,
}

impl Unlock {
    /// A release on every configured node, since a node that has not answered may have the lock,
    /// too.
    #[must_use]
    pub fn new(quorum: Quorum) -> Self {
        Self {
            quorum,
            pending: quorum.all(),
            released: 0,
            not_held: 0,
            done: false,
        }
    }

    /// Whether all nodes have answered or failed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether all nodes have answered, so that no node has the lock any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.released + self.not_held == self.quorum.nodes()
    }

    /// Processes an event. Returns `true` once, when the release is decided: a quorum has released
    /// the lock, so many nodes did not have it that no quorum can have had it, or each node has
    /// answered or failed. On nodes that failed, the lock expires.
    pub fn step(&mut self, event: ReleaseEvent) -> bool {
        let (ReleaseEvent::Answered(node, _) | ReleaseEvent::Failed(node)) = event;
        if !self.pending.remove(node) {
            return false;
        }
        match event {
            ReleaseEvent::Answered(_, 0) => self.not_held += 1,
            ReleaseEvent::Answered(..) => self.released += 1,
            ReleaseEvent::Failed(_) => {}
        }
        let decided = self.released >= self.quorum.needed()
            || self.not_held > self.quorum.spare()
            || self.pending.is_empty();
        decided && !std::mem::replace(&mut self.done, true)
    }
}

//! Commands to a node.

use std::sync::Arc;

use super::fence::Fence;
use super::lease::{Nonce, SlotLock};
use super::names::{NameError, checked};
use super::proposal::Proposal;
use super::slots::Slot;

/// A command to a node. Cheap to clone: lists are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Grant the first free candidate; answered by [`super::reply::acquire`].
    Acquire(Arc<Proposal>),
    /// Release slots; answered by [`super::reply::release`].
    Release(ReleaseCommand),
    /// Extend locks; answered by [`super::reply::renew`].
    Renew(RenewCommand),
    /// Join the queue; answered by [`super::reply::enqueue`].
    Enqueue(Enlist),
    /// Leave the queue. The answer does not matter.
    Leave {
        /// The waiter's name, see [`Enlist::waiter`].
        waiter: String,
    },
    /// Return which slots are held; answered by [`super::reply::list`].
    List {
        /// The slots. A node executes nothing else meanwhile, so pass some hundreds at most.
        slots: Arc<[Slot]>,
    },
}

/// Slots to be released where they are held with this nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseCommand {
    /// The slots.
    pub slots: Arc<[Slot]>,
    /// The nonce that proves ownership.
    pub nonce: Nonce,
    /// Fence of a lock for which a renewal may still be under way, by another worker or on
    /// another connection. After the release, that renewal must not restore the lock.
    pub ends: Option<Fence>,
}

/// Locks to be extended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewCommand {
    /// The locks. A node executes nothing else meanwhile, so pass some hundreds at most.
    pub leases: Arc<[SlotLock]>,
    /// Minimum remaining TTL in milliseconds, counted from the node's receipt. A longer TTL is not
    /// shortened.
    pub ttl_ms: u64,
}

/// A waiter in the queue of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enlist {
    pub(crate) waiter: String,
    pub(crate) priority: Priority,
    pub(crate) wait_ms: u64,
}

impl Enlist {
    /// The waiter with number `ticket` of `instance`, which waits for at most `wait_ms`. Fails if
    /// `instance` is not a valid name.
    pub fn new(
        instance: &str,
        ticket: u64,
        priority: Priority,
        wait_ms: u64,
    ) -> Result<Self, NameError> {
        Ok(Self {
            waiter: format!("{}:{ticket:x}", checked(instance)?),
            priority,
            wait_ms,
        })
    }

    /// The waiter's name on the nodes.
    #[must_use]
    pub fn waiter(&self) -> &str {
        &self.waiter
    }

    /// The waiter's priority.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Maximum waiting time in milliseconds.
    #[must_use]
    pub fn wait_ms(&self) -> u64 {
        self.wait_ms
    }
}

/// Priority in the queue; higher is served first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(i32);

impl Priority {
    const LIMIT: i32 = 1_000;

    /// The priority with this number, limited to -1000..=1000.
    #[must_use]
    pub fn nearest(number: i32) -> Self {
        Self(number.clamp(-Self::LIMIT, Self::LIMIT))
    }

    /// Distance from the highest priority, whose rank is 0.
    #[must_use]
    pub fn rank(self) -> u64 {
        u64::from((Self::LIMIT - self.0).unsigned_abs())
    }
}

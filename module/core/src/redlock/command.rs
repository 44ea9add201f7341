//! What a node is asked to do.

use std::sync::Arc;

use super::fence::Fence;
use super::lease::{Lease, Nonce};
use super::names::{NameError, checked};
use super::proposal::Proposal;
use super::slots::Slot;

/// What a node is asked to do. Cheap to clone: lists are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Grant the first free candidate; answered by [`super::reply::acquire`].
    Acquire(Arc<Proposal>),
    /// Give slots up; answered by [`super::reply::release`].
    Release(ReleaseCommand),
    /// Prolong leases; answered by [`super::reply::renew`].
    Renew(RenewCommand),
    /// Take a place in the queue; answered by [`super::reply::enqueue`].
    Enqueue(Enlist),
    /// Give it up; answered by [`super::reply::leave`].
    Leave {
        /// What [`Enlist`] called it.
        waiter: String,
    },
    /// Say whose turn it is; answered by [`super::reply::head`].
    Head,
    /// Say which of these are held; answered by [`super::reply::list`].
    List {
        /// Of these. A node does nothing else meanwhile: some hundreds at a time.
        slots: Arc<[Slot]>,
    },
}

/// Slots to be given up where they are under this nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseCommand {
    /// The slots.
    pub slots: Arc<[Slot]>,
    /// What proves that they are ours.
    pub nonce: Nonce,
    /// The fence of a lock that the node may yet be told to prolong: by a command that
    /// another worker has sent, or on another connection. It must not put it back then.
    pub ends: Option<Fence>,
}

/// Leases to be prolonged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewCommand {
    /// The leases. A node does nothing else meanwhile: some hundreds at a time.
    pub leases: Arc<[Lease]>,
    /// For how long at least, counted from the node's receipt. What it keeps for longer
    /// stays so.
    pub ttl_ms: u64,
}

/// A waiter for the queue of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enlist {
    pub(crate) waiter: String,
    pub(crate) priority: Priority,
    pub(crate) wait_ms: u64,
}

impl Enlist {
    /// The waiter that `instance` calls `ticket`, for `wait_ms` at most.
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

    /// What nodes call it.
    #[must_use]
    pub fn waiter(&self) -> &str {
        &self.waiter
    }

    /// Its priority.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// How long it waits at most.
    #[must_use]
    pub fn wait_ms(&self) -> u64 {
        self.wait_ms
    }
}

/// Who comes first; higher is sooner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(i32);

impl Priority {
    const LIMIT: i32 = 1_000;

    /// The priority with this number, or the nearest that there is: nodes tell
    /// -1000 to 1000 apart.
    #[must_use]
    pub fn nearest(number: i32) -> Self {
        Self(number.clamp(-Self::LIMIT, Self::LIMIT))
    }

    /// Its place from the highest, which is 0.
    #[must_use]
    pub fn rank(self) -> u64 {
        u64::from((Self::LIMIT - self.0).unsigned_abs())
    }
}

//! Events of a group.

use std::rc::Rc;

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{CoolDown, NodeId, PoolNames, Value};

use super::Operation;

/// The result of [`Group::keep_for`](super::Group::keep_for).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A majority of nodes has renewed the lock: it is valid until this time in milliseconds.
    Until(u64),
    /// Too few nodes have renewed the lock.
    Refused,
    /// A majority of nodes has replied that the lock is held by another lease.
    Lost,
}

/// An event of a group. `handle` is the lease concerned. `tag` is that of the
/// [`LockRequest`](super::LockRequest).
#[derive(Debug)]
pub enum GroupEvent {
    /// A lock was taken.
    Locked {
        /// The tag of the request.
        tag: u64,
        /// The lease.
        handle: LeaseHandle,
        /// The lock.
        lock: Lock,
        /// The index of the locked slot: 0 for the first, otherwise 1 plus its index in `others`.
        choice: usize,
        /// The number of nodes that had granted it by then.
        votes: u8,
    },
    /// The slots are held elsewhere, or the votes were split. Another attempt can succeed later.
    Busy {
        /// The tag of the request.
        tag: u64,
        /// The lease.
        handle: LeaseHandle,
        /// When to try again, in milliseconds from now.
        wait_ms: u64,
    },
    /// The replies left open why the attempt failed. The next attempt must use the script.
    Unsure {
        /// The tag of the request.
        tag: u64,
        /// The lease.
        handle: LeaseHandle,
    },
    /// There is no quorum, or the attempt took too long.
    Unavailable {
        /// The tag of the request.
        tag: u64,
        /// The lease.
        handle: LeaseHandle,
    },
    /// A release is decided: a majority has released the lock, too few nodes had it, or too few
    /// replied. On a node that has not released it, it expires.
    Unlocked {
        /// The lease.
        handle: LeaseHandle,
        /// Whether a waiter on another machine has been notified.
        for_others: bool,
    },
    /// No node has the lock any more. Follows [`GroupEvent::Unlocked`].
    Gone {
        /// The lease.
        handle: LeaseHandle,
    },
    /// An attempt was given up before it was decided.
    Abandoned {
        /// The lease.
        handle: LeaseHandle,
    },
    /// A lock was renewed.
    Prolonged {
        /// The lease.
        handle: LeaseHandle,
        /// The new end of its validity, in milliseconds of the monotonic clock.
        deadline_ms: u64,
    },
    /// The result of [`Group::keep_for`](super::Group::keep_for). It can be reported more than
    /// once.
    Concluded {
        /// The operation that was passed to `keep_for`.
        operation: Operation,
        /// The result.
        kept: Kept,
    },
    /// The lock has expired, or a majority of nodes has replied that it is held by another lease.
    /// Ignore this if the lock is valid for longer than `deadline_ms`: several renewals can be
    /// outstanding, and replies to the first can be the last to arrive.
    Lost {
        /// The lease.
        handle: LeaseHandle,
        /// The latest end of the lock's validity that this is about, in milliseconds of the
        /// monotonic clock.
        deadline_ms: u64,
    },
    /// A node is connected; see [`Group::greet`](super::Group::greet).
    Opened {
        /// The number of the group.
        group: usize,
        /// The node.
        node: NodeId,
    },
    /// A node says that a key is cooling down.
    CoolingDown {
        /// The pool.
        names: Rc<PoolNames>,
        /// The id of the key.
        key: String,
        /// The cause, and the end.
        cool_down: CoolDown,
    },
    /// The reply of a node to a call of [`Group::share`](super::Group::share).
    Shared {
        /// The number of the group.
        group: usize,
        /// The node.
        node: NodeId,
        /// The reply.
        value: Value,
    },
    /// Another machine has released a slot, and this machine is the next in the queue.
    Freed {
        /// The pool.
        names: Rc<PoolNames>,
        /// The name of the slot on the nodes.
        field: String,
    },
}

/// Counters of attempts since the worker started.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupCounts {
    /// Locks acquired.
    pub locked: u64,
    /// Locks passed from one lease to the next; counted by the owner of the group.
    pub handed_over: u64,
    /// Locks retained after a lease for the next one; counted by the owner of the group.
    pub retained: u64,
    /// Leases that got a retained lock; counted by the owner of the group.
    pub reused: u64,
    /// Attempts that failed because the slots were held elsewhere or the votes were split.
    pub busy: u64,
    /// Attempts that failed for lack of a quorum.
    pub no_quorum: u64,
    /// Attempts that failed because nodes were in quarantine.
    pub quarantine: u64,
    /// Attempts that acquired the lock too late to use it.
    pub too_late: u64,
    /// Attempts that were abandoned.
    pub abandoned: u64,
    /// Leases whose lock expired or was taken by another one; counted by the owner of the group.
    pub lost: u64,
}

//! What a group reports to its owner.

use std::rc::Rc;

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{CoolDown, NodeId, Operation, PoolNames, Value};

/// What nodes have answered to an operation on a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A majority keeps it, so that it is valid until then.
    Until(u64),
    /// Too few nodes keep it.
    Refused,
    /// A majority answers that somebody else holds it.
    Lost,
}

/// What has come of something. A handle is that of the lease concerned; a tag is that of
/// the [`LockRequest`](super::Attempt).
#[derive(Debug)]
pub enum GroupEvent {
    /// A lock was taken.
    Locked {
        /// Of the attempt.
        tag: u64,
        /// The lease.
        handle: LeaseHandle,
        /// The lock.
        lock: Lock,
        /// Which of the slots is locked.
        choice: usize,
        /// How many nodes had granted it by then.
        votes: u8,
    },
    /// It is held elsewhere, or the votes were split; worth trying again then.
    Busy {
        /// Of the attempt.
        tag: u64,
        /// The lease.
        handle: LeaseHandle,
        /// In how many milliseconds to try again.
        wait_ms: u64,
    },
    /// Too little has been learnt; the next attempt has to ask by script.
    Unsure {
        /// Of the attempt.
        tag: u64,
        /// The lease.
        handle: LeaseHandle,
    },
    /// No quorum can be had.
    Unavailable {
        /// Of the attempt.
        tag: u64,
        /// The lease.
        handle: LeaseHandle,
    },
    /// A lock was given back.
    Unlocked {
        /// The lease.
        handle: LeaseHandle,
        /// Whether a waiter on another machine has been told.
        for_others: bool,
    },
    /// No node has the lock any more; comes after [`GroupEvent::Unlocked`].
    Gone {
        /// The lease.
        handle: LeaseHandle,
    },
    /// An attempt was given up before it was decided.
    Abandoned {
        /// The lease.
        handle: LeaseHandle,
    },
    /// A lock was prolonged.
    Prolonged {
        /// The lease.
        handle: LeaseHandle,
        /// Until when it is valid.
        deadline_ms: u64,
    },
    /// The result of [`Group::keep_for`](super::Group::keep_for); may come again.
    Concluded {
        /// The operation that was passed to it.
        operation: Operation,
        /// The result.
        kept: Kept,
    },
    /// Somebody else holds the lock.
    Lost {
        /// The lease.
        handle: LeaseHandle,
    },
    /// Commands can be sent to a node from now on; see [`Group::greet`](super::Group::greet).
    Opened {
        /// The number of the group.
        group: usize,
        /// The node.
        node: NodeId,
    },
    /// A node says that a key cannot be used.
    CoolingDown {
        /// The pool.
        names: Rc<PoolNames>,
        /// The id of the key.
        key: String,
        /// Why, and for how long.
        cool_down: CoolDown,
    },
    /// The answer of a node to a call of [`Group::share`](super::Group::share).
    Shared {
        /// The number of the group.
        group: usize,
        /// The node.
        node: NodeId,
        /// The answer.
        value: Value,
    },
    /// Another machine has given up a slot, and it is the turn of this one.
    Freed {
        /// The pool.
        names: Rc<PoolNames>,
        /// The slot, as nodes know it.
        field: String,
    },
}

/// Counts of attempts since the worker began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Locks that were taken.
    pub locked: u64,
    /// Locks that passed from lease to lease; counted by the owner of the group.
    pub handed_over: u64,
    /// Attempts that found the slots held elsewhere, or split votes.
    pub busy: u64,
    /// Attempts that had no quorum.
    pub no_quorum: u64,
    /// Attempts that failed because nodes were in quarantine.
    pub quarantine: u64,
    /// Attempts that took too long to be of use.
    pub too_late: u64,
    /// Attempts that were abandoned.
    pub abandoned: u64,
    /// Locks that somebody else holds.
    pub lost: u64,
}

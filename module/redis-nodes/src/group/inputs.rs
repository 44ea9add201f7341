//! Configuration of a group, and parameters of its operations.

use std::rc::Rc;

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{Drift, Fence, PoolNames, RetryDelay, Slot};

use crate::commands::SlotCommands;
use crate::node::NodeTarget;

/// Configuration of a group.
pub struct Setup<A> {
    /// The number of the group, by which events refer to it.
    pub number: usize,
    /// The nodes, in the order of the configuration.
    pub nodes: Vec<NodeTarget<A>>,
    /// The time in milliseconds after which a node counts as not answering.
    pub timeout_ms: u64,
    /// What to subtract from a lock's time to live because clocks may run at different speeds.
    pub drift: Drift,
    /// The shortest TTL of a lock, in milliseconds.
    pub shortest_ttl_ms: u64,
    /// The delay before a new attempt after a split vote.
    pub retry: RetryDelay,
    /// The quarantine in milliseconds: how long a node that came back without data grants no locks.
    pub quarantine_ms: u64,
    /// Whether to skip the quarantine for a pool that no node knows.
    pub bootstrap: bool,
    /// The pools that use the group.
    pub pools: Vec<Rc<PoolNames>>,
    /// The name of this worker, stored with its locks for other machines to see.
    pub owner: String,
    /// The name of this machine in queues, shared by all its workers.
    pub instance: String,
}

/// Parameters of an attempt to lock a slot.
pub struct LockRequest {
    /// The pool.
    pub names: Rc<PoolNames>,
    /// The slot of the lease.
    pub first: Rc<SlotCommands>,
    /// Other slots of the pool that may be locked instead.
    pub others: Vec<Slot>,
    /// Whether to use the script. It is slower than plain commands, but its reply says why a node
    /// refuses.
    pub by_script: bool,
    /// The lock's time to live in milliseconds.
    pub ttl_ms: u64,
    /// The local lease of the first slot.
    pub handle: LeaseHandle,
    /// The last fence of the first slot that is known on this machine.
    pub last_fence: u64,
    /// A value of the caller, returned in events.
    pub tag: u64,
}

/// A lock to release.
#[derive(Clone, Copy)]
pub struct GiveBack {
    /// The lock.
    pub lock: Lock,
    /// Whether nodes may still receive a renewal of the lock, from any worker.
    pub may_be_extended: bool,
    /// Whether to report [`GroupEvent::Gone`](super::GroupEvent::Gone). The caller then repeats the
    /// release until it is reported.
    pub settles: bool,
    /// Its lease.
    pub handle: LeaseHandle,
}

impl GiveBack {
    /// The fence up to which nodes must not restore a lock of the slot.
    pub(super) fn ends(&self) -> Option<Fence> {
        Fence::new(self.lock.fence).filter(|_| self.may_be_extended)
    }
}

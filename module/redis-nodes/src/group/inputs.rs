//! How a group is made, and what it is asked to do.

use std::rc::Rc;

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{Drift, Fence, PoolNames, RetryDelay, Slot};

use crate::commands::SlotCommands;
use crate::node::NodeTarget;

/// How a group is made.
pub struct Setup<A> {
    /// The number of the group, which outcomes name it by.
    pub number: usize,
    /// The nodes, in the order of the configuration.
    pub nodes: Vec<NodeTarget<A>>,
    /// How long a node may take to answer.
    pub timeout_ms: u64,
    /// What is subtracted from a lock's time to live, as clocks differ.
    pub drift: Drift,
    /// How soon a split vote is repeated.
    pub retry: RetryDelay,
    /// For how long a node that came back empty grants no locks.
    pub quarantine_ms: u64,
    /// Whether a pool that no node has heard of needs no quarantine.
    pub bootstrap: bool,
    /// The pools that use it.
    pub pools: Vec<Rc<PoolNames>>,
    /// The name of this worker, as other machines see it on its locks.
    pub owner: String,
    /// The name of this machine in queues: the same for all its workers.
    pub instance: String,
}

/// A lock that is wanted.
pub struct LockRequest {
    /// The pool.
    pub names: Rc<PoolNames>,
    /// The slot of the lease.
    pub first: Rc<SlotCommands>,
    /// Other slots that are as good.
    pub others: Vec<Slot>,
    /// Whether to ask by script, which tells more.
    pub by_script: bool,
    /// The lock's time to live.
    pub ttl_ms: u64,
    /// The lease of the first slot on this machine.
    pub handle: LeaseHandle,
    /// The fence of the last lock of that slot that is known here.
    pub last_fence: u64,
    /// Passed through to the outcome.
    pub tag: u64,
}

/// A lock to be given back.
#[derive(Clone, Copy)]
pub struct GiveBack {
    /// The lock.
    pub lock: Lock,
    /// Whether nodes may still receive a command that prolongs it, from any worker.
    pub retold: bool,
    /// Whether [`GroupEvent::Gone`](super::GroupEvent::Gone) is wanted.
    pub settles: bool,
    /// Its lease.
    pub handle: LeaseHandle,
}

impl GiveBack {
    /// The fence up to which nodes must not put a lock back.
    pub(super) fn ends(&self) -> Option<Fence> {
        Fence::new(self.lock.fence).filter(|_| self.retold)
    }
}

//! A proposal of one slot as plain commands: no script, which takes a node longer.
//!
//! The lock is set if the slot is free, the fence raised if it is higher, and the
//! guard read: after the lock is set, so that a node that forgets all in between
//! does not vote. A vote counts if all three went well. If the lock was set all the
//! same it is a stray, and given back; a fence that was raised in vain stays, which
//! only makes the next one higher. What a refusal would have to tell (which fence
//! to exceed, how long to wait) it does not: ask by [`super::Script::Acquire`] then.

use super::names::PoolNames;
use super::proposal::Proposal;
use super::slots::Slot;

/// The three commands, answered by an array of three for [`super::reply::acquire`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeCall {
    /// The commands, each as its words.
    pub commands: [Vec<String>; 3],
}

impl TakeCall {
    /// The commands for a proposal's first slot.
    #[must_use]
    pub fn new(proposal: &Proposal, slot: &Slot, names: &PoolNames) -> Self {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let meta = proposal.holder.meta(proposal.nonce, proposal.fence);
        let ttl = proposal.ttl_ms.to_string();
        let fence = proposal.fence.to_string();
        Self {
            commands: [
                words(&["SET", &names.lock(slot), &meta, "NX", "PX", &ttl]),
                words(&["ZADD", &names.fences(), "GT", "CH", &fence, slot.field()]),
                words(&["GET", &names.guard()]),
            ],
        }
    }
}

//! A proposal of one slot as plain commands, which are faster than a script.
//!
//! The commands set the lock if the slot is free, raise the fence, and read the expiry of the
//! guard: only an open guard has one, and it shows the node's clock. The guard is read last, so that
//! the vote of a node that lost its data in between does not count. A vote
//! counts if all three succeeded. If only the lock was set, it is a stray grant and is released. A
//! fence that was raised without a grant remains; it only makes the next fence higher. The answer
//! of a node that does not grant the slot states neither the fence to exceed nor the time to wait;
//! that of [`super::Script::Acquire`] does.

use super::names::PoolNames;
use super::proposal::Proposal;
use super::slots::Slot;

/// The three commands, answered by an array of three for [`super::reply::acquire`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeCall {
    /// The commands, each as a list of arguments.
    pub commands: [Vec<String>; 3],
}

impl TakeCall {
    /// The commands that lock `slot` for a proposal.
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
                words(&["PTTL", &names.guard()]),
            ],
        }
    }
}

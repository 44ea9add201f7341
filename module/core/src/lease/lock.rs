//! Slots that other machines lease too: a lease here counts only with a lock that
//! a quorum of nodes has granted this machine.
//!
//! The zone settles who of this machine may try, remembers what is known to be
//! held elsewhere, and lets a lock go from lease to lease without a round trip.
//! Taking and giving back locks is the caller's.

use super::acquire::Grant;
use super::record::{NONE, Slot, nonce_of, nonce_words};
use super::release::{LeaseHandle, Lost};
use super::time::Now;
use super::zone::Zone;
use crate::redlock::Fence;

/// A lock that this machine has on a slot by quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    nonce: [u64; 2],
    /// The fence that a quorum took.
    pub fence: u64,
    /// Until when it is valid, on the monotonic clock. Never 0.
    pub deadline_ms: u64,
}

impl Lock {
    /// A lock with this nonce.
    #[must_use]
    pub fn new(nonce: u128, fence: u64, deadline_ms: u64) -> Self {
        Self {
            nonce: nonce_words(nonce),
            fence,
            deadline_ms: deadline_ms.max(1),
        }
    }

    /// What proves to the nodes that it is this one.
    #[must_use]
    pub fn nonce(&self) -> u128 {
        nonce_of(self.nonce)
    }

    pub(crate) fn of(slot: &Slot) -> Option<Self> {
        (slot.lock_deadline_ms != 0).then_some(Self {
            nonce: slot.lock_nonce,
            fence: slot.lock_fence,
            deadline_ms: slot.lock_deadline_ms,
        })
    }
}

/// When a lock may be handed to the next waiter instead of being given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// How often in a row; no more than there are fences in a block.
    pub most: u32,
    /// Whether another worker may have it: nothing is under way to the nodes that would
    /// take the slot again after that worker has given the lock back.
    pub to_others: bool,
    /// How long this machine may have had it, in milliseconds, if others wait.
    pub longest_ms: Option<u32>,
    /// How long it must still be valid, in milliseconds.
    pub left_ms: u64,
    /// Whose waiters may have it: those of the same configuration, which have the
    /// same name for the slot and the same nodes.
    pub generation: u64,
}

/// What has become of a lease's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is free, or somebody else's who has to lock it first.
    Free,
    /// A waiter has it, and the lock with it.
    HandedOver,
    /// The lock has to be given back; until [`Zone::release`] the slot is held.
    Locked(Lock),
}

impl Zone<'_> {
    /// Notes the lock on the slot of a lease; the lease lasts as long.
    pub fn locked(&mut self, handle: LeaseHandle, lock: Lock) -> Result<Grant, Lost> {
        self.holds(handle)?;
        let slot = &mut self.slots[handle.slot as usize];
        slot.lock_nonce = lock.nonce;
        slot.lock_fence = lock.fence;
        slot.lock_deadline_ms = lock.deadline_ms;
        slot.fence = lock.fence;
        slot.handed = 0;
        slot.locked_ms = slot.granted_ms as u32;
        self.move_deadline(handle.slot, lock.deadline_ms);
        Ok(self.granted(handle.slot))
    }

    /// Notes that the lock on the slot of a lease has been prolonged.
    pub fn prolonged(&mut self, handle: LeaseHandle, deadline_ms: u64) -> Result<(), Lost> {
        self.holds(handle)?;
        self.slots[handle.slot as usize].lock_deadline_ms = deadline_ms;
        self.move_deadline(handle.slot, deadline_ms);
        Ok(())
    }

    /// Ends a lease: hands slot and lock to the first waiter, if there is one and
    /// it may be; else tells which lock to give back.
    pub fn end(&mut self, handle: LeaseHandle, rule: HandOver, now: Now) -> Result<Ended, Lost> {
        self.holds(handle)?;
        let record = self.slots[handle.slot as usize];
        let Some(lock) = Lock::of(&record) else {
            self.free(handle.slot, now);
            return Ok(Ended::Free);
        };
        let lasts = lock.deadline_ms >= now.mono_ms.saturating_add(rule.left_ms);
        let had_ms = (now.mono_ms as u32).wrapping_sub(record.locked_ms);
        let fair = rule.longest_ms.is_none_or(|longest| had_ms <= longest);
        let key = record.key as usize;
        let kept = record.ordinal < self.keys[key].slots && self.may_go_on(key);
        let in_block = u64::from(record.handed) + 1 < Fence::BLOCK;
        let may = |&waiter: &u32| {
            let waiter = &self.waiters[waiter as usize];
            let same = waiter.generation == rule.generation;
            let near = rule.to_others || waiter.owner == record.owner;
            lasts && fair && kept && same && near && in_block && record.handed < rule.most
        };
        let next = self.next_for(key).filter(may);
        let Some(waiter) = next else {
            return Ok(Ended::Locked(lock));
        };
        self.waiting_in(self.keys[key].pool as usize).remove(waiter);
        let next = self.waiters[waiter as usize];
        let slot = &mut self.slots[handle.slot as usize];
        slot.handed += 1;
        slot.nonce = next.nonce;
        slot.owner = next.owner;
        slot.ttl_ms = next.ttl_ms;
        slot.holder = next.holder;
        // The next lock has a fence of another block.
        slot.fence = lock.fence + u64::from(slot.handed);
        slot.granted_ms = now.mono_ms;
        self.account(handle.slot, next.tokens, now);
        self.serve(waiter, handle.slot);
        Ok(Ended::HandedOver)
    }

    /// The slot of a lease turns out to be held on another machine: nobody here
    /// need try before then.
    pub fn taken_elsewhere(&mut self, handle: LeaseHandle, until_ms: u64) -> Result<(), Lost> {
        self.holds(handle)?;
        self.leave_elsewhere(handle.slot, until_ms);
        Ok(())
    }

    /// Another machine has given a slot up: those who wait here may try.
    pub fn freed_elsewhere(&mut self, key: u32, ordinal: u32, now: Now) {
        let held = &self.deadlines[..self.header.deadlines as usize];
        let found = held.iter().copied().find(|&slot| {
            let slot = &self.slots[slot as usize];
            slot.owner == NONE && (slot.key, slot.ordinal) == (key, ordinal)
        });
        if let Some(slot) = found {
            self.free(slot, now);
        }
    }

    pub(crate) fn leave_elsewhere(&mut self, slot: u32, until_ms: u64) {
        let record = &mut self.slots[slot as usize];
        record.owner = NONE;
        record.nonce = [0; 2];
        record.lock_deadline_ms = 0;
        self.set_aside(slot);
        self.move_deadline(slot, until_ms);
    }

    pub(crate) fn move_deadline(&mut self, slot: u32, deadline_ms: u64) {
        self.slots[slot as usize].deadline_ms = deadline_ms;
        self.held_slots().update(slot);
    }
}

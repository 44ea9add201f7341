//! Slots that are shared with other machines: a lease needs a lock from a quorum of nodes.
//!
//! The zone decides which request of this machine may try to lock a slot, stores what is held
//! elsewhere, and hands locks from lease to lease without a round trip. The caller takes and
//! releases the locks.

use super::acquire::Grant;
use super::record::{NONE, SlotRecord, nonce_of, nonce_words};
use super::release::{LeaseHandle, Lost};
use super::retain::Retain;
use super::time::Now;
use super::zone::Zone;
use crate::redlock::Fence;

/// A lock of this machine on a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    nonce: [u64; 2],
    /// The fence that a quorum accepted.
    pub fence: u64,
    /// End of the lock's validity on the monotonic clock; never 0.
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

    /// The nonce, which proves ownership to the nodes.
    #[must_use]
    pub fn nonce(&self) -> u128 {
        nonce_of(self.nonce)
    }

    pub(crate) fn of(slot: &SlotRecord) -> Option<Self> {
        (slot.lock_deadline_ms != 0).then_some(Self {
            nonce: slot.lock_nonce,
            fence: slot.lock_fence,
            deadline_ms: slot.lock_deadline_ms,
        })
    }
}

/// Conditions for handing a lock to the next waiter instead of releasing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// Maximum number of consecutive hand-overs. It is also limited by the number of fences in a
    /// block.
    pub most: u32,
    /// Whether a waiter of another worker may get the lock. False while a command to the nodes is
    /// outstanding that could lock the slot again after the other worker has released it.
    pub to_others: bool,
    /// Longest time in milliseconds that this machine may keep the lock while other machines wait;
    /// `None` for no limit.
    pub longest_ms: Option<u32>,
    /// Minimum remaining validity, in milliseconds.
    pub left_ms: u64,
    /// Generation of the waiters that may get the lock. They have the same configuration, hence the
    /// same names and nodes.
    pub generation: u64,
    /// Whether the lock may be retained if no local request waits for the key.
    pub retain: Option<Retain>,
}

/// What happened to the slot of an ended lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The slot is free, or granted to a waiter that must lock it first.
    Free,
    /// A waiter has the slot and the lock.
    HandedOver,
    /// The slot is free, and the next lease gets it with its lock. This worker calls
    /// [`Zone::reclaim`] at this time at the latest.
    Retained {
        /// Time on the monotonic clock.
        until_ms: u64,
    },
    /// The lock must be released; the slot is held until [`Zone::release`].
    Locked(Lock),
}

impl Zone<'_> {
    /// Stores the lock on the slot of a lease. The deadline of the lease becomes that of the lock.
    pub fn locked(&mut self, handle: LeaseHandle, lock: Lock) -> Result<Grant, Lost> {
        self.holds(handle)?;
        let slot = &mut self.slots[handle.slot as usize];
        slot.lock_nonce = lock.nonce;
        slot.lock_fence = lock.fence;
        slot.lock_deadline_ms = lock.deadline_ms;
        slot.fence = lock.fence;
        self.header.fence = self.header.fence.max(lock.fence);
        slot.handed = 0;
        slot.locked_ms = slot.granted_ms as u32;
        self.move_deadline(handle.slot, lock.deadline_ms);
        Ok(self.granted(handle.slot))
    }

    /// Stores the new deadline of an extended lock.
    pub fn prolonged(&mut self, handle: LeaseHandle, deadline_ms: u64) -> Result<(), Lost> {
        self.holds(handle)?;
        self.slots[handle.slot as usize].lock_deadline_ms = deadline_ms;
        self.move_deadline(handle.slot, deadline_ms);
        Ok(())
    }

    /// Ends a lease. Hands slot and lock to the first waiter, or retains the lock if no request
    /// waits for the key, if the conditions allow it; otherwise returns the lock to be released.
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
        let kept = record.ordinal < self.keys[key].slots && self.is_active(key);
        let in_block = u64::from(record.handed) + 1 < Fence::BLOCK;
        let may = |&waiter: &u32| {
            let waiter = &self.waiters[waiter as usize];
            let same = waiter.generation == rule.generation;
            let near = rule.to_others || waiter.owner == record.owner;
            lasts
                && fair
                && kept
                && same
                && near
                && in_block
                && u32::from(record.handed) < rule.most
        };
        let first = self.next_for(key);
        let Some(waiter) = first.filter(may) else {
            if let Some(retain) = rule.retain
                && first.is_none()
                && lasts
                && kept
                && in_block
                && rule.to_others
                && rule.longest_ms.is_none()
                && let Some(until_ms) = self.retain(handle.slot, retain, rule.left_ms, now)
            {
                return Ok(Ended::Retained { until_ms });
            }
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
        // Within the block of this lock: the next lock has another block.
        slot.fence = lock.fence + u64::from(slot.handed);
        self.header.fence = self.header.fence.max(slot.fence);
        slot.granted_ms = now.mono_ms;
        self.account(handle.slot, next.tokens, now);
        self.serve(waiter, handle.slot);
        Ok(Ended::HandedOver)
    }

    /// Marks the slot of a lease as held on another machine until `until_ms`. It is not granted
    /// before then.
    pub fn taken_elsewhere(
        &mut self,
        handle: LeaseHandle,
        until_ms: u64,
        now: Now,
    ) -> Result<(), Lost> {
        self.holds(handle)?;
        self.leave_elsewhere(handle.slot, until_ms, now);
        Ok(())
    }

    /// Frees a slot that another machine has released, and offers it to waiters of this machine.
    pub fn freed_elsewhere(&mut self, key: u32, ordinal: u32, now: Now) {
        let record = self.keys.get(key as usize);
        if record.is_none_or(|record| self.is_too_new(record)) {
            return;
        }
        let held = &self.deadlines[..self.header.deadlines as usize];
        let found = held.iter().copied().find(|&slot| {
            let slot = &self.slots[slot as usize];
            slot.owner == NONE && (slot.key, slot.ordinal) == (key, ordinal)
        });
        if let Some(slot) = found {
            self.free(slot, now);
        }
    }

    pub(crate) fn leave_elsewhere(&mut self, slot: u32, until_ms: u64, now: Now) {
        let record = &mut self.slots[slot as usize];
        record.owner = NONE;
        record.nonce = [0; 2];
        record.lock_deadline_ms = 0;
        self.leave_out_of_probation(slot);
        self.move_deadline(slot, until_ms);
        // Another slot of the key may be used instead.
        self.offer(self.slots[slot as usize].key as usize, now);
    }

    pub(crate) fn move_deadline(&mut self, slot: u32, deadline_ms: u64) {
        self.slots[slot as usize].deadline_ms = deadline_ms;
        self.held_slots().update(slot);
    }
}

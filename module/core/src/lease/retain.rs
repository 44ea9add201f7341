//! Locks that are kept after their lease for the next lease of this machine.
//!
//! A slot with a retained lock is free on this machine and locked on the nodes. The next lease of
//! the slot, in any worker of the same configuration, gets the lock with the next fence of its
//! block. If there is none in time, the slot is held again for the worker that retained the lock,
//! which releases it on the nodes.

use super::lock::Lock;
use super::record::{NONE, nonce_words, slot_state};
use super::release::LeaseHandle;
use super::time::Now;
use super::worker::WorkerId;
use super::zone::Zone;

/// Limits of retained locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retain {
    /// How long a lock is kept without a lease, in milliseconds.
    pub idle_ms: u32,
    /// How long after it was taken a lock may be retained, in milliseconds. Then it is released, so
    /// that other machines can get the slot even if it is always in use here.
    pub longest_ms: u32,
    /// Maximum number of retained locks in the pool.
    pub most: u32,
}

/// What a worker must do about a lock that it retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reclaimed {
    /// Release the lock, then call [`Zone::release`] with the handle.
    Release(Lock),
    /// Nothing: a later lease has the lock, or it has been retained again.
    InUse,
    /// Release the lock on the nodes. The zone no longer contains it, so its slot may have another
    /// lock.
    Gone,
}

/// Number of retained slots that are passed to insert another free slot after them.
const PASSED: usize = 64;

impl Zone<'_> {
    /// Retains the lock of a held slot, which has no lease any more. Returns until when, or `None`
    /// if it may not be retained.
    pub(crate) fn retain(
        &mut self,
        slot: u32,
        retain: Retain,
        left_ms: u64,
        now: Now,
    ) -> Option<u64> {
        let record = &self.slots[slot as usize];
        let (key, pool) = (record.key as usize, self.keys[record.key as usize].pool);
        let pool = pool as usize;
        // Workers of a newer configuration may not have the lock.
        let owner = self.workers.get(record.owner as usize)?;
        if owner.generation != self.header.generation {
            return None;
        }
        let had_ms = (now.mono_ms as u32).wrapping_sub(record.locked_ms);
        let for_ms = retain.longest_ms.checked_sub(had_ms)?.min(retain.idle_ms);
        let idle_end = now.mono_ms.saturating_add(for_ms.into());
        let until_ms = idle_end.min(record.lock_deadline_ms.saturating_sub(left_ms));
        if until_ms <= now.mono_ms || self.pools[pool].retained >= retain.most {
            return None;
        }
        self.leave_probation(slot);
        self.move_deadline(slot, until_ms);
        self.slots[slot as usize].state = slot_state::RETAINED;
        self.keys[key].in_use = self.keys[key].in_use.saturating_sub(1);
        self.pools[pool].held = self.pools[pool].held.saturating_sub(1);
        self.pools[pool].retained += 1;
        self.list_retained(slot);
        self.rank(key);
        Some(until_ms)
    }

    /// Ends the retention of a lock: its slot is held again until the owner, which is woken, has
    /// released the lock, or the lock ends.
    pub(crate) fn recall(&mut self, slot: u32) {
        self.hold_again(slot);
        self.header.recalls = self.header.recalls.wrapping_add(1);
        let owner = self.slots[slot as usize].owner;
        if (owner as usize) < self.workers.len() {
            self.wakes.insert(WorkerId(owner));
        }
    }

    /// Makes a slot with a retained lock one that is held until its lock ends.
    fn hold_again(&mut self, slot: u32) {
        self.unlist(slot);
        let record = &mut self.slots[slot as usize];
        record.state = slot_state::HELD;
        // No lease of the key: it counts against no probation.
        record.serial = 0;
        let (key, deadline_ms) = (record.key as usize, record.lock_deadline_ms);
        self.move_deadline(slot, deadline_ms);
        let health = &mut self.keys[key];
        health.in_use += 1;
        health.left_out += u32::from(health.probation_serial > 0);
        let pool = &mut self.pools[health.pool as usize];
        pool.held += 1;
        pool.retained = pool.retained.saturating_sub(1);
        self.set_cap(key);
        self.rank(key);
    }

    /// Makes the first free slot of a key one that a worker of `generation` can get, with or
    /// without a lock. Recalls retained locks that it may not have. `false` if the key has no room
    /// then.
    pub(crate) fn make_ready(&mut self, key: usize, generation: u64, now: Now) -> bool {
        while Self::has_room(&self.keys[key]) {
            let slot = self.keys[key].free_slot;
            let record = &self.slots[slot as usize];
            if record.state != slot_state::RETAINED {
                return true;
            }
            let owner = self.workers.get(record.owner as usize);
            // Workers of one configuration have the same names and nodes.
            let is_same = owner.is_some_and(|owner| owner.generation == generation);
            if is_same && now.mono_ms < record.deadline_ms {
                return true;
            }
            self.recall(slot);
        }
        false
    }

    /// Ends the retention of a lock that this worker retained with the lease `handle`.
    pub fn reclaim(&mut self, handle: LeaseHandle, lock_nonce: u128) -> Reclaimed {
        let Some(record) = self.slots.get(handle.slot as usize) else {
            return Reclaimed::Gone;
        };
        let state = record.state;
        let is_kept = matches!(state, slot_state::HELD | slot_state::RETAINED);
        if !is_kept || record.lock_nonce != nonce_words(lock_nonce) {
            return Reclaimed::Gone;
        }
        match Lock::of(record) {
            // The worker of a later lease has died, and its request may still be served: the slot
            // is held until the lock ends.
            None if record.owner == NONE => Reclaimed::InUse,
            None => Reclaimed::Gone,
            Some(_) if record.nonce != handle.nonce => Reclaimed::InUse,
            Some(lock) => {
                if state == slot_state::RETAINED {
                    self.hold_again(handle.slot);
                }
                Reclaimed::Release(lock)
            }
        }
    }

    /// Whether the lock that this worker retained with the lease `handle` is still retained: no
    /// later lease has taken it, and it has not been recalled.
    #[must_use]
    pub fn is_retained(&self, handle: LeaseHandle) -> bool {
        let slot = self.slots.get(handle.slot as usize);
        slot.is_some_and(|slot| slot.state == slot_state::RETAINED && slot.nonce == handle.nonce)
    }

    /// Number of recalled locks so far, modulo 2^32. When it has changed, a worker that has retained
    /// locks must reclaim those for which [`Zone::is_retained`] is false.
    #[must_use]
    pub fn recalls(&self) -> u32 {
        self.header.recalls
    }

    /// Lists a slot first among the free slots of its key.
    pub(crate) fn list_retained(&mut self, slot: u32) {
        let key = self.slots[slot as usize].key as usize;
        self.slots[slot as usize].next_free = self.keys[key].free_slot;
        self.keys[key].free_slot = slot;
    }

    /// Lists a slot without a lock among the free slots of its key, after slots with one.
    pub(crate) fn list_free(&mut self, slot: u32) {
        let key = self.slots[slot as usize].key as usize;
        let (mut before, mut at) = (NONE, self.keys[key].free_slot);
        for _ in 0..PASSED {
            let next = self.slots.get(at as usize);
            let Some(next) = next.filter(|next| next.state == slot_state::RETAINED) else {
                break;
            };
            (before, at) = (at, next.next_free);
        }
        self.slots[slot as usize].next_free = at;
        match self.slots.get_mut(before as usize) {
            Some(before) => before.next_free = slot,
            None => self.keys[key].free_slot = slot,
        }
    }

    /// Removes a slot from the free slots of its key.
    fn unlist(&mut self, slot: u32) {
        let record = &self.slots[slot as usize];
        let (key, next) = (record.key as usize, record.next_free);
        let (mut before, mut at) = (NONE, self.keys[key].free_slot);
        while at != slot && at != NONE {
            (before, at) = (at, self.slots[at as usize].next_free);
        }
        if at == slot {
            match self.slots.get_mut(before as usize) {
                Some(before) => before.next_free = next,
                None => self.keys[key].free_slot = next,
            }
        }
        self.slots[slot as usize].next_free = NONE;
    }
}

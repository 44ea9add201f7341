//! The end of a lease: release, or expiry without renewal.

use thiserror::Error;

use super::record::{NONE, nonce_of, nonce_words, slot_state};
use super::service::SERVICE;
use super::time::Now;
use super::zone::Zone;

/// Identifies a lease in calls that renew or release it: the slot, and the nonce that proves that
/// the slot is still held under that lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseHandle {
    pub(crate) slot: u32,
    /// Two words, because records in nginx's memory pools are aligned to eight bytes.
    pub(crate) nonce: [u64; 2],
}

impl LeaseHandle {
    /// Handle of the lease with this nonce on a slot. Operations fail with [`Lost`] if there is no
    /// such lease.
    #[must_use]
    pub fn new(slot: u32, nonce: u128) -> Self {
        Self {
            slot,
            nonce: nonce_words(nonce),
        }
    }

    /// The nonce of the lease.
    #[must_use]
    pub fn nonce(&self) -> u128 {
        nonce_of(self.nonce)
    }
}

/// The slot is free or held under another lease.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the lease is lost")]
pub struct Lost;

impl Zone<'_> {
    /// Ends a lease and grants its slot to the first waiter that may have it.
    pub fn release(&mut self, handle: LeaseHandle, now: Now) -> Result<(), Lost> {
        self.holds(handle)?;
        self.free(handle.slot, now);
        Ok(())
    }

    /// Moves the deadline of a lease to one TTL from now and returns it.
    ///
    /// An expired lease whose slot has not been granted again is renewed as well: while the caller
    /// holds the zone's mutex, no other lease on the slot can exist.
    pub fn renew(&mut self, handle: LeaseHandle, now: Now) -> Result<u64, Lost> {
        self.holds(handle)?;
        let slot = &mut self.slots[handle.slot as usize];
        let deadline = now.mono_ms.saturating_add(slot.ttl_ms.into());
        slot.deadline_ms = deadline;
        self.held_slots().update(handle.slot);
        Ok(deadline)
    }

    /// Ends the leases whose deadline has passed and the cool-downs that are over. Returns the
    /// number of ended leases.
    pub fn expire(&mut self, now: Now) -> usize {
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now.mono_ms);
        let mut ended = 0;
        while due(self.next_expiry()) {
            let slot = self.deadlines[0];
            if self.slots[slot as usize].state == slot_state::RETAINED {
                // Its owner releases the lock; without that, the slot is free when the lock ends.
                self.recall(slot);
                continue;
            }
            self.free(slot, now);
            ended += 1;
        }
        while due(self.next_cool_down_end()) {
            self.end_cool_down(self.cooling[0] as usize, now);
        }
        ended
    }

    pub(crate) fn holds(&self, handle: LeaseHandle) -> Result<(), Lost> {
        let slot = self.slots.get(handle.slot as usize).ok_or(Lost)?;
        let same = slot.state == slot_state::HELD && slot.nonce == handle.nonce;
        if same { Ok(()) } else { Err(Lost) }
    }

    /// Ends the lease on a held slot.
    pub(crate) fn free(&mut self, slot: u32, now: Now) {
        self.held_slots().remove(slot);
        if self.slots[slot as usize].owner == SERVICE {
            self.service_slot_freed(slot, now);
        }
        let record = &mut self.slots[slot as usize];
        let key = record.key as usize;
        record.state = slot_state::FREE;
        record.nonce = [0; 2];
        record.owner = NONE;
        record.lock_deadline_ms = 0;
        self.keys[key].in_use = self.keys[key].in_use.saturating_sub(1);
        let pool = &mut self.pools[self.keys[key].pool as usize];
        pool.held = pool.held.saturating_sub(1);
        self.leave_probation(slot);
        self.shelve(slot);
        self.offer(key, now);
    }
}

//! Other free slots for a lease.
//!
//! A slot that is free on this machine may be held on another. Therefore a request for a lock names
//! several slots at once, and the lease moves to the slot that was locked.

use super::acquire::{Grant, Grantee};
use super::avoid::Avoid;
use super::record::{NONE, presence, slot_state};
use super::release::LeaseHandle;
use super::time::Now;
use super::zone::Zone;

impl Zone<'_> {
    /// Up to `most` free slots of the lease's pool, each as key index and ordinal. Contains only
    /// keys that a worker of `generation` knows, starting at a random one. Keys to avoid come
    /// last.
    #[must_use]
    pub fn alternatives(
        &self,
        handle: LeaseHandle,
        generation: u64,
        most: usize,
        random: u64,
        avoid: &Avoid,
    ) -> Vec<(u32, u32)> {
        if self.holds(handle).is_err() {
            return vec![];
        }
        let pool = self.keys[self.slots[handle.slot as usize].key as usize].pool;
        let pool = &self.pools[pool as usize];
        let from = pool.available_at as usize;
        let listed = &self.available[from..from + pool.available as usize];
        if listed.is_empty() {
            return vec![];
        }
        let (before, after) = listed.split_at((random % listed.len() as u64) as usize);
        let of_each = most.div_ceil(listed.len());
        let known = after
            .iter()
            .chain(before)
            .copied()
            .filter(|&key| Self::knows(&self.keys[key as usize], generation));
        let fresh = known.clone().filter(|&key| !avoid.contains(key));
        let tried = known.filter(|&key| avoid.contains(key));
        fresh
            .chain(tried)
            .flat_map(|key| self.free_slots(key).take(of_each))
            .take(most)
            .collect()
    }

    fn free_slots(&self, key: u32) -> impl Iterator<Item = (u32, u32)> {
        let first = self.slots.get(self.keys[key as usize].free_slot as usize);
        let next = |slot: &&super::record::SlotRecord| self.slots.get(slot.next_free as usize);
        let free = std::iter::successors(first, next);
        // The nodes have a lock of this machine on the others.
        let free = free.filter(|slot| slot.state == slot_state::FREE);
        free.map(move |slot| (key, slot.ordinal))
    }

    /// Moves a lease to another slot of its pool and marks the old slot as held elsewhere until
    /// `until_ms`. `None` if the lease is lost or the new slot is no longer free.
    pub fn move_to(
        &mut self,
        handle: LeaseHandle,
        (key, ordinal): (u32, u32),
        until_ms: u64,
        now: Now,
    ) -> Option<Grant> {
        self.holds(handle).ok()?;
        let left = self.slots[handle.slot as usize];
        let wanted = self.keys.get(key as usize)?;
        let fits = wanted.state == presence::CURRENT
            && wanted.pool == self.keys[left.key as usize].pool
            && !self.is_too_new(wanted)
            && Self::has_room(wanted);
        if !fits || !self.draw(key as usize, ordinal) {
            return None;
        }
        let to = Grantee {
            owner: left.owner,
            nonce: left.nonce,
            ttl_ms: left.ttl_ms,
            tokens: left.tokens,
            holder: left.holder,
        };
        let grant = self.grant(key as usize, to, now);
        self.take_back(handle.slot, now);
        self.leave_elsewhere(handle.slot, until_ms, now);
        Some(grant)
    }

    /// Makes a slot the first of its key's free slots; `false` if it is not free.
    fn draw(&mut self, key: usize, ordinal: u32) -> bool {
        let first = self.keys[key].free_slot;
        let (mut before, mut at) = (NONE, first);
        while at != NONE && self.slots[at as usize].ordinal != ordinal {
            (before, at) = (at, self.slots[at as usize].next_free);
        }
        if at == NONE || self.slots[at as usize].state != slot_state::FREE {
            return false;
        }
        if before != NONE {
            self.slots[before as usize].next_free = self.slots[at as usize].next_free;
            self.slots[at as usize].next_free = first;
            self.keys[key].free_slot = at;
        }
        true
    }

    /// Highest priority among the pool's waiters, if there are any.
    #[must_use]
    pub fn waiting_priority(&self, pool: super::zone::PoolId) -> Option<i32> {
        let pool = self.pools.get(pool.0 as usize).filter(|p| p.waiting > 0)?;
        let first = self.waiting[pool.waiting_at as usize];
        Some(self.waiters[first as usize].priority)
    }
}

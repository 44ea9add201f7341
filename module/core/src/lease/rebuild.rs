//! Rebuilding the derived part of the zone from its records.

use std::collections::HashMap;

use super::record::{NONE, presence, slot_state, waiter_state};
use super::time::Now;
use super::zone::Zone;

impl Zone<'_> {
    /// Repairs the zone after a process died while it held the mutex. The next process that locks
    /// it calls this first.
    pub fn recover(&mut self, now: Now) {
        self.rebuild();
        // The process may have died between freeing a slot and offering it.
        for key in 0..self.keys.len() {
            self.offer(key, now);
        }
    }

    /// Rebuilds heaps, lists and counters. Drops records with invalid references. Leases on slots
    /// of valid keys are kept.
    pub(crate) fn rebuild(&mut self) {
        self.return_to_current();
        self.drop_broken_records();
        self.free_ended_service_slots();
        self.lay_out_segments();
        self.list_slots();
        self.list_keys();
        self.list_waiters();
        self.rebuild_services();
    }

    /// Makes pools and keys current again if they were retired for a configuration that was not
    /// completed.
    fn return_to_current(&mut self) {
        for key in self.keys.iter_mut() {
            if key.state == presence::RETIRED && key.retired > self.header.generation {
                key.state = presence::CURRENT;
            }
            if key.state == presence::CURRENT
                && let Some(pool) = self.pools.get_mut(key.pool as usize)
                && pool.state == presence::RETIRED
            {
                pool.state = presence::CURRENT;
            }
        }
    }

    fn drop_broken_records(&mut self) {
        let (pools, workers) = (self.pools.len(), self.workers.len());
        for key in self.keys.iter_mut() {
            let homeless = key.pool as usize >= pools
                || self.pools[key.pool as usize].state == presence::UNUSED;
            if key.state > presence::RETIRED || homeless {
                key.state = presence::UNUSED;
            }
            key.cooling_at = NONE;
            key.free_slot = NONE;
            key.in_use = 0;
            key.left_out = 0;
        }
        for rank in self.ranks.iter_mut() {
            rank.heap_at = NONE;
        }
        for slot in self.slots.iter_mut() {
            let key = self.keys.get(slot.key as usize);
            let surplus = key.is_none_or(|k| k.state == presence::UNUSED)
                || (slot.state == slot_state::FREE && key.is_some_and(|k| slot.ordinal >= k.slots));
            if slot.state > slot_state::RETAINED || surplus {
                slot.state = slot_state::UNUSED;
            }
            let is_needed = key.is_some_and(|key| slot.ordinal < key.slots);
            let owner = self.workers.get(slot.owner as usize);
            let owner = owner.filter(|worker| worker.pid != 0);
            if slot.state == slot_state::RETAINED && !(is_needed && owner.is_some()) {
                // Not for another lease: it is to be released, or ends.
                match owner {
                    Some(_) => self.header.recalls = self.header.recalls.wrapping_add(1),
                    None => slot.owner = NONE,
                }
                slot.state = slot_state::HELD;
                slot.serial = 0;
                slot.deadline_ms = slot.lock_deadline_ms;
            }
            slot.heap_at = NONE;
            slot.next_free = NONE;
        }
        for waiter in self.waiters.iter_mut() {
            let broken = waiter.pool as usize >= pools
                || waiter.owner as usize >= workers
                || self.workers[waiter.owner as usize].pid == 0;
            if waiter.state > waiter_state::SERVED || broken {
                waiter.state = waiter_state::UNUSED;
            }
            waiter.heap_at = NONE;
            waiter.next = NONE;
        }
    }

    /// Assigns each pool its part of the two shared heaps.
    fn lay_out_segments(&mut self) {
        let mut active = vec![0u32; self.pools.len()];
        let mut slots = vec![0u32; self.pools.len()];
        for key in self.keys.iter().filter(|k| k.state == presence::CURRENT) {
            active[key.pool as usize] += 1;
            slots[key.pool as usize] += key.slots;
        }
        let rooms = self.rooms_for_waiters(&slots);
        let (mut keys_at, mut waiting_at) = (0, 0);
        for ((pool, active), room) in self.pools.iter_mut().zip(active).zip(rooms) {
            pool.available_at = keys_at;
            keys_at += active;
            pool.waiting_at = waiting_at;
            pool.waiting_room = room;
            waiting_at += room;
            pool.available = 0;
            pool.waiting = 0;
            pool.held = 0;
            pool.retained = 0;
            pool.slots = 0;
            pool.keys = 0;
            pool.cooling = 0;
        }
    }

    /// Number of waiters for which each pool has room, given its number of slots.
    ///
    /// Requests that wait have room in any case. Next come the queues of the newest configuration,
    /// which [`Zone::check`] has checked, then its slots: requests that could not lock their slot
    /// return to the queue and need room, too. The queues of retired pools come last.
    fn rooms_for_waiters(&self, slots: &[u32]) -> Vec<u32> {
        let mut rooms = vec![0u32; self.pools.len()];
        for waiter in self
            .waiters
            .iter()
            .filter(|w| w.state != waiter_state::UNUSED)
        {
            rooms[waiter.pool as usize] += 1;
        }
        let mut left = self.waiting.len() as u32 - rooms.iter().sum::<u32>();
        for (state, with_slots) in [
            (presence::CURRENT, false),
            (presence::CURRENT, true),
            (presence::RETIRED, true),
        ] {
            for ((pool, room), slots) in self.pools.iter().zip(&mut rooms).zip(slots) {
                if pool.state == state {
                    let slots = if with_slots { *slots } else { 0 };
                    let wanted = pool.queue.saturating_add(slots);
                    let more = wanted.saturating_sub(*room).min(left);
                    *room += more;
                    left -= more;
                }
            }
        }
        rooms
    }

    fn list_slots(&mut self) {
        self.header.free_slot = NONE;
        self.header.deadlines = 0;
        // Backwards, so that a key grants its lowest slot first.
        for at in (0..self.slots.len()).rev() {
            let slot = self.slots[at];
            let key = slot.key as usize;
            match slot.state {
                slot_state::HELD => {
                    self.header.fence = self.header.fence.max(slot.fence);
                    let health = &mut self.keys[key];
                    health.in_use += 1;
                    health.left_out += u32::from(slot.serial < health.probation_serial);
                    self.pools[self.keys[key].pool as usize].held += 1;
                    self.held_slots().push(at as u32);
                }
                slot_state::FREE => {
                    // The process may have died before it wrote these.
                    let slot = &mut self.slots[at];
                    (slot.nonce, slot.owner, slot.lock_deadline_ms) = ([0; 2], NONE, 0);
                    self.slots[at].next_free = self.keys[key].free_slot;
                    self.keys[key].free_slot = at as u32;
                }
                slot_state::RETAINED => {
                    self.header.fence = self.header.fence.max(slot.fence);
                    self.pools[self.keys[key].pool as usize].retained += 1;
                    self.held_slots().push(at as u32);
                }
                _ => {
                    self.slots[at].next_free = self.header.free_slot;
                    self.header.free_slot = at as u32;
                }
            }
        }
        // After the others, so that they are the first of their keys.
        for at in (0..self.slots.len()).rev() {
            if self.slots[at].state == slot_state::RETAINED {
                self.list_retained(at as u32);
            }
        }
    }

    fn list_keys(&mut self) {
        self.header.cooling = 0;
        for key in 0..self.keys.len() {
            if self.keys[key].state == presence::UNUSED {
                continue;
            }
            if self.keys[key].until_ms != 0 {
                self.cooling_keys().push(key as u32);
            }
            self.set_cap(key);
            if self.keys[key].state == presence::CURRENT {
                let pool = &mut self.pools[self.keys[key].pool as usize];
                pool.slots += self.keys[key].slots;
                pool.keys += 1;
                pool.cooling += u32::from(self.keys[key].until_ms != 0);
                self.rank(key);
            }
        }
    }

    fn list_waiters(&mut self) {
        self.header.free_waiter = NONE;
        for worker in self.workers.iter_mut() {
            worker.mailbox = NONE;
        }
        // The process may have died after it granted a slot, before it noted that in the waiter.
        let held = (0..).zip(self.slots.iter());
        let held = held.filter(|(_, slot)| slot.state == slot_state::HELD);
        let held: HashMap<_, _> = held.map(|(at, s)| ((s.nonce, s.owner), at)).collect();
        for at in (0..self.waiters.len()).rev() {
            let waiter = self.waiters[at];
            let slot = held.get(&(waiter.nonce, waiter.owner));
            if waiter.state == waiter_state::UNUSED {
                self.forget(at as u32);
            } else if let Some(&slot) = slot {
                self.waiters[at].slot = slot;
                self.waiters[at].state = waiter_state::SERVED;
                self.post(waiter.owner as usize, at as u32);
            } else {
                self.waiters[at].state = waiter_state::WAITING;
                self.header.arrivals = self.header.arrivals.max(waiter.arrival + 1);
                if !self.waiting_in(waiter.pool as usize).push(at as u32) {
                    self.forget(at as u32);
                }
            }
        }
    }
}

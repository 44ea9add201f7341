//! Rebuilding the derived part of the zone from its records.

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

    /// Rebuilds heaps, lists and counters. Drops records with invalid references; leases are
    /// never dropped.
    pub(crate) fn rebuild(&mut self) {
        self.drop_broken_records();
        self.lay_out_segments();
        self.list_slots();
        self.list_keys();
        self.list_waiters();
        self.rebuild_services();
    }

    fn drop_broken_records(&mut self) {
        let (pools, workers) = (self.pools.len(), self.workers.len());
        for key in self.keys.iter_mut() {
            let homeless = key.pool as usize >= pools
                || self.pools[key.pool as usize].state == presence::UNUSED;
            if key.state > presence::RETIRED || homeless {
                key.state = presence::UNUSED;
            }
            key.heap_at = NONE;
            key.free_slot = NONE;
            key.in_use = 0;
        }
        for health in self.health.iter_mut() {
            health.heap_at = NONE;
            health.left_out = 0;
        }
        for slot in self.slots.iter_mut() {
            let key = self.keys.get(slot.key as usize);
            let surplus = key.is_none_or(|k| k.state == presence::UNUSED)
                || (slot.state == slot_state::FREE && key.is_some_and(|k| slot.ordinal >= k.slots));
            if slot.state > slot_state::HELD || surplus {
                slot.state = slot_state::UNUSED;
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

    /// Assigns each pool its part of the two shared heaps. Pools of the newest configuration come
    /// first: their room has been checked.
    fn lay_out_segments(&mut self) {
        let mut active = vec![0u32; self.pools.len()];
        let mut slots = vec![0u32; self.pools.len()];
        for key in self.keys.iter().filter(|k| k.state == presence::CURRENT) {
            active[key.pool as usize] += 1;
            slots[key.pool as usize] += key.slots;
        }
        let mut waiting = vec![0u32; self.pools.len()];
        for waiter in self
            .waiters
            .iter()
            .filter(|w| w.state != waiter_state::UNUSED)
        {
            waiting[waiter.pool as usize] += 1;
        }
        let (mut keys_at, mut waiting_at) = (0, 0);
        for state in [presence::CURRENT, presence::RETIRED] {
            for (at, pool) in self
                .pools
                .iter_mut()
                .enumerate()
                .filter(|(_, p)| p.state == state)
            {
                pool.available_at = keys_at;
                keys_at += active[at];
                let left = self.waiting.len() as u32 - waiting_at;
                pool.waiting_at = waiting_at;
                // Requests that return from slots they could not lock need room, too.
                let room = pool.queue.saturating_add(slots[at]);
                pool.waiting_room = room.max(waiting[at]).min(left);
                waiting_at += pool.waiting_room;
            }
        }
        for pool in self.pools.iter_mut() {
            pool.available = 0;
            pool.waiting = 0;
            pool.held = 0;
            pool.slots = 0;
            pool.keys = 0;
            pool.cooling = 0;
        }
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
                    self.keys[key].in_use += 1;
                    let health = &mut self.health[key];
                    health.left_out += u32::from(slot.serial < health.probation_serial);
                    self.pools[self.keys[key].pool as usize].held += 1;
                    self.held_slots().push(at as u32);
                }
                slot_state::FREE => {
                    self.slots[at].next_free = self.keys[key].free_slot;
                    self.keys[key].free_slot = at as u32;
                }
                _ => {
                    self.slots[at].next_free = self.header.free_slot;
                    self.header.free_slot = at as u32;
                }
            }
        }
    }

    fn list_keys(&mut self) {
        self.header.cooling = 0;
        for key in 0..self.keys.len() {
            if self.keys[key].state == presence::UNUSED {
                continue;
            }
            if self.health[key].until_ms != 0 {
                self.cooling_keys().push(key as u32);
            }
            self.set_cap(key);
            if self.keys[key].state == presence::CURRENT {
                let pool = &mut self.pools[self.keys[key].pool as usize];
                pool.slots += self.keys[key].slots;
                pool.keys += 1;
                pool.cooling += u32::from(self.health[key].until_ms != 0);
                self.rank(key);
            }
        }
    }

    fn list_waiters(&mut self) {
        self.header.free_waiter = NONE;
        for worker in self.workers.iter_mut() {
            worker.mailbox = NONE;
        }
        for at in (0..self.waiters.len()).rev() {
            let waiter = self.waiters[at];
            let served = self.slots.get(waiter.slot as usize).is_some_and(|slot| {
                slot.state == slot_state::HELD
                    && slot.nonce == waiter.nonce
                    && slot.owner == waiter.owner
            });
            if waiter.state == waiter_state::UNUSED {
                self.forget(at as u32);
            } else if served {
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

//! Worker processes: registration, and clean-up after a worker has died.

use super::record::{KeyRecord, NONE, slot_state, waiter_state};
use super::time::Now;
use super::zone::Zone;

/// The index of a worker in the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(pub(crate) u32);

impl WorkerId {
    /// The index, for tables parallel to the zone's.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of workers to be woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WakeSet([u64; 4]);

impl WakeSet {
    pub(crate) fn insert(&mut self, worker: WorkerId) {
        let at = worker.index();
        self.0[at / 64] |= 1 << (at % 64);
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// The workers in the set.
    pub fn iter(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0u32..)
            .step_by(64)
            .zip(self.0)
            .flat_map(|(first, mut word)| {
                std::iter::from_fn(move || {
                    let bit = word.trailing_zeros();
                    word &= word.wrapping_sub(1);
                    (bit < 64).then_some(WorkerId(first + bit))
                })
            })
    }
}

impl Zone<'_> {
    /// Registers a worker, after cleaning up after dead ones.
    ///
    /// A worker with the same number and configuration may still be alive: when a binary upgrade is
    /// cancelled, nginx starts workers beside those that are shutting down.
    ///
    /// `None` when there are too many workers.
    pub fn enroll(
        &mut self,
        pid: u32,
        generation: u64,
        now: Now,
        mut dead: impl FnMut(u32) -> bool,
    ) -> Option<WorkerId> {
        self.remove_dead(now, |other| other == pid || dead(other));
        let at = self.workers.iter().position(|w| w.pid == 0)?;
        let worker = &mut self.workers[at];
        worker.generation = generation;
        worker.mailbox = NONE;
        worker.pid = pid;
        Some(WorkerId(at as u32))
    }

    /// Process ids of the registered workers.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        let pids = self.workers.iter().map(|worker| worker.pid);
        pids.filter(|&pid| pid != 0)
    }

    /// Removes dead workers and returns their number.
    ///
    /// Call it from time to time: nginx does not replace a worker that dies while it shuts down, so
    /// [`Zone::enroll`] may not be called.
    pub fn remove_dead(&mut self, now: Now, mut dead: impl FnMut(u32) -> bool) -> usize {
        let mut buried = 0;
        for at in 0..self.workers.len() {
            let pid = self.workers[at].pid;
            if pid != 0 && dead(pid) {
                self.dismiss(WorkerId(at as u32), now);
                buried += 1;
            }
        }
        buried
    }

    /// States which worker changes the zone, until it is opened again. Where it names a key by its
    /// index, keys that are newer than its configuration are then not affected: it may know the
    /// index as that of a removed key.
    pub fn act_for(&mut self, worker: WorkerId) {
        self.acting = Some(worker);
    }

    /// Whether the key is newer than the configuration of the worker that changes the zone.
    pub(crate) fn is_too_new(&self, key: &KeyRecord) -> bool {
        let worker = self.acting.map(|worker| self.workers.get(worker.index()));
        worker.is_some_and(|worker| worker.is_none_or(|worker| worker.generation < key.made))
    }

    /// Removes a worker and releases its leases and queue entries.
    pub fn dismiss(&mut self, worker: WorkerId, now: Now) {
        let owner = worker.0;
        for waiter in 0..self.waiters.len() {
            let record = &self.waiters[waiter];
            if record.owner == owner && record.state != waiter_state::UNUSED {
                if record.state == waiter_state::WAITING {
                    let pool = record.pool as usize;
                    self.waiting_in(pool).remove(waiter as u32);
                }
                self.forget(waiter as u32);
            }
        }
        self.workers[worker.index()] = bytemuck::Zeroable::zeroed();
        self.workers[worker.index()].mailbox = NONE;
        for slot in 0..self.slots.len() {
            let record = &self.slots[slot];
            if record.state == slot_state::RETAINED && record.owner == owner {
                self.recall(slot as u32);
            }
            let record = &self.slots[slot];
            if record.state != slot_state::HELD || record.owner != owner {
                continue;
            }
            if record.lock_deadline_ms > now.mono_ms {
                // No process of this machine can release the lock. It expires on the nodes.
                self.leave_elsewhere(slot as u32, record.lock_deadline_ms, now);
            } else {
                self.free(slot as u32, now);
            }
        }
        if self.has_waiters() {
            // The timer for the next deadline may have been this worker's.
            self.wake_all_but(worker);
        }
    }

    /// Oldest generation of a registered worker; `u64::MAX` if there are none.
    pub(crate) fn oldest_generation(&self) -> u64 {
        let living = self.workers.iter().filter(|w| w.pid != 0);
        living.map(|w| w.generation).min().unwrap_or(u64::MAX)
    }
}

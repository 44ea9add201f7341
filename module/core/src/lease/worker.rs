//! WorkerRecord processes: registration, and clean-up after a worker has died.

use super::record::{NONE, slot_state, waiter_state};
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
    /// A worker with the same number and configuration may still be alive: when a binary upgrade
    /// is called off, nginx starts workers beside those that are shutting down.
    ///
    /// `None` when there are too many workers.
    pub fn enroll(
        &mut self,
        pid: u32,
        generation: u64,
        now: Now,
        mut dead: impl FnMut(u32) -> bool,
    ) -> Option<WorkerId> {
        for at in 0..self.workers.len() {
            let worker = self.workers[at];
            if worker.pid != 0 && (worker.pid == pid || dead(worker.pid)) {
                self.dismiss(WorkerId(at as u32), now);
            }
        }
        let at = self.workers.iter().position(|w| w.pid == 0)?;
        let worker = &mut self.workers[at];
        worker.generation = generation;
        worker.mailbox = NONE;
        worker.pid = pid;
        Some(WorkerId(at as u32))
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
            if record.state != slot_state::HELD || record.owner != owner {
                continue;
            }
            if record.lock_deadline_ms > now.mono_ms {
                // No process of this machine can release the lock: it expires by itself.
                self.leave_elsewhere(slot as u32, record.lock_deadline_ms);
            } else {
                self.free(slot as u32, now);
            }
        }
    }

    /// The oldest configuration of a living worker.
    pub(crate) fn oldest_generation(&self) -> u64 {
        let living = self.workers.iter().filter(|w| w.pid != 0);
        living.map(|w| w.generation).min().unwrap_or(u64::MAX)
    }
}

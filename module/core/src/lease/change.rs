//! Keys that change while the configuration stays: its workers have read their
//! files anew.
//!
//! Each worker does so on its own, a little sooner or later than the others. The
//! first one to bring a set of keys makes a generation of it; the others join that
//! when they bring the same. Until a worker has joined, it is granted none of the
//! new keys, since it does not have them; a key that is gone is granted to nobody
//! any more, whatever the generation.

use thiserror::Error;

use super::reconcile::{Accepted, PoolConfig, ReconcileError};
use super::record::{presence, waiter_state};
use super::time::Now;
use super::worker::WorkerId;
use super::zone::{PoolId, Zone};

/// Why a worker's keys are not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ChangeError {
    /// There is a newer configuration, whose workers see to the keys.
    #[error("there is a newer configuration")]
    Superseded,
    /// The zone has no room for them.
    #[error(transparent)]
    Misfit(#[from] ReconcileError),
}

/// A worker's keys, as the zone has taken them.
#[derive(Clone, Debug)]
pub struct Changed {
    /// How the zone knows them.
    pub accepted: Accepted,
    /// Whether this worker is the first that brings them.
    pub first: bool,
}

impl Zone<'_> {
    /// The newest generation, if another worker has brought its keys and this one
    /// has not.
    #[must_use]
    pub fn newer_keys(&self, worker: WorkerId) -> Option<u64> {
        let generation = self.generation_of(worker)?;
        (generation < self.header.generation).then_some(self.header.generation)
    }

    /// The generation of a worker that runs the newest configuration.
    fn generation_of(&self, worker: WorkerId) -> Option<u64> {
        let worker = self.workers.get(worker.index())?;
        let newest = worker.pid != 0 && worker.generation >= self.header.configured;
        newest.then_some(worker.generation)
    }

    /// Takes the keys of the pools of the newest configuration as a worker has just
    /// read them. The worker and those who wait there belong to the generation that
    /// is returned from now on.
    pub fn change_keys(
        &mut self,
        worker: WorkerId,
        pools: &[PoolConfig],
        now: Now,
    ) -> Result<Changed, ChangeError> {
        if self.generation_of(worker).is_none() {
            return Err(ChangeError::Superseded);
        }
        let changed = match self.same_keys(pools) {
            Some(accepted) => Changed {
                accepted,
                first: false,
            },
            None => Changed {
                accepted: self.replace_keys(pools)?,
                first: true,
            },
        };
        self.move_on(worker, changed.accepted.generation);
        if changed.first {
            self.wake_all_but(worker);
        }
        self.offer_all(now);
        Ok(changed)
    }

    /// The newest keys, if they are these.
    fn same_keys(&self, pools: &[PoolConfig]) -> Option<Accepted> {
        let known = self.known_keys();
        let mut same = Vec::with_capacity(pools.len());
        for pool in pools {
            let at = self.pool_named(&pool.name)?;
            let keys = pool.keys.iter().map(|key| {
                let index = *known.get(&(at as u32, key.fingerprint))?;
                let record = &self.keys[index];
                let same = record.state == presence::ACTIVE
                    && (record.weight, record.slots) == (key.weight, key.slots)
                    && self.health[index].line == key.line;
                same.then_some(index as u32)
            });
            let keys = keys.collect::<Option<Vec<_>>>()?;
            if self.pools[at].keys as usize != keys.len() {
                return None;
            }
            same.push((PoolId(at as u32), keys));
        }
        Some(Accepted {
            generation: self.header.generation,
            pools: same,
        })
    }

    fn replace_keys(&mut self, pools: &[PoolConfig]) -> Result<Accepted, ReconcileError> {
        self.drop_departed();
        self.check_keys(pools)?;
        let accepted = self.enter(pools)?;
        // A worker that has not read the files yet may not use them either.
        for key in self.keys.iter_mut() {
            if key.state == presence::RETIRED && key.retired == accepted.generation {
                key.retired = 0;
            }
        }
        Ok(accepted)
    }

    fn move_on(&mut self, worker: WorkerId, generation: u64) {
        self.workers[worker.index()].generation = generation;
        for waiter in self.waiters.iter_mut() {
            if waiter.state != waiter_state::UNUSED && waiter.owner == worker.0 {
                waiter.generation = generation;
            }
        }
    }

    fn wake_all_but(&mut self, worker: WorkerId) {
        for (at, other) in (0u32..).zip(self.workers.iter()) {
            if other.pid != 0 && at != worker.0 {
                self.wakes.insert(WorkerId(at));
            }
        }
    }

    /// Whether there is, or may yet be, a lease on the key.
    #[must_use]
    pub fn is_in_use(&self, key: u32) -> bool {
        let key = self.keys.get(key as usize);
        key.is_some_and(|key| key.state == presence::ACTIVE || key.in_use > 0)
    }
}

//! Changed keys within one configuration: the workers have read their key files again.
//!
//! Each worker reads the files at a slightly different time. The first worker that brings a set
//! of keys creates a generation; the others join it when they bring the same set. Until then a
//! worker is granted none of the new keys, since it does not have their secrets. A removed key is
//! granted to no worker of any generation.

use thiserror::Error;

use super::reconcile::{Accepted, PoolConfig, ReconcileError};
use super::record::{presence, waiter_state};
use super::time::Now;
use super::worker::WorkerId;
use super::zone::{PoolId, Zone};

/// Why a worker's keys are rejected.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ChangeError {
    /// There is a newer configuration; its workers manage the keys.
    #[error("there is a newer configuration")]
    Superseded,
    /// The zone has no room for the keys.
    #[error(transparent)]
    Misfit(#[from] ReconcileError),
}

/// A worker's keys, as accepted by the zone.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The indexes of the pools and keys.
    pub accepted: Accepted,
    /// Whether this worker is the first with these keys.
    pub first: bool,
}

impl Zone<'_> {
    /// The newest generation, if another worker has brought its keys and this worker has not.
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

    /// Accepts the keys of the pools of the newest configuration, as a worker has just read them.
    /// The worker and its waiters belong to the returned generation from now on.
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

    /// The newest generation, if its keys equal these.
    fn same_keys(&self, pools: &[PoolConfig]) -> Option<Accepted> {
        let known = self.known_keys();
        let mut same = Vec::with_capacity(pools.len());
        for pool in pools {
            let at = self.pool_named(&pool.name)?;
            let keys = pool.keys.iter().map(|key| {
                let index = *known.get(&(at as u32, key.fingerprint))?;
                let record = &self.keys[index];
                let same = record.state == presence::CURRENT
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
        // Workers that have not read the files yet must not use the keys either.
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

    /// Whether the key has a lease or can get one.
    #[must_use]
    pub fn is_in_use(&self, key: u32) -> bool {
        let key = self.keys.get(key as usize);
        key.is_some_and(|key| key.state == presence::CURRENT || key.in_use > 0)
    }
}

//! Changes of keys without a reload: workers have read their key files again.
//!
//! Each worker reads the files at a slightly different time. The first worker that passes a new set
//! of keys creates a generation; the others join the generation when they pass the same set. Until
//! then they are granted none of the new keys, because they do not have their secrets. A removed
//! key is no longer granted to workers of any generation.

use thiserror::Error;

use super::reconcile::{Accepted, KeyConfig, PoolConfig, ReconcileError};
use super::record::{presence, waiter_state};
use super::service::digest;
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
    /// A key of the pool has another id, but its id names locks on nodes.
    #[error("openai_pool \"{0}\": a key has another id now, but other machines know it by its id")]
    Renamed(String),
}

/// Hash of a key's id, the same in every process; never 0.
#[must_use]
pub fn id_hash(id: &str) -> u64 {
    digest(&[id]).max(1)
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
    /// The newest generation, if another worker has passed its keys and this worker has not.
    #[must_use]
    pub fn newer_keys(&self, worker: WorkerId) -> Option<u64> {
        let generation = self.generation_of(worker)?;
        (generation < self.header.generation).then_some(self.header.generation)
    }

    /// The generation of a worker that runs the newest configuration.
    pub(crate) fn generation_of(&self, worker: WorkerId) -> Option<u64> {
        let worker = self.workers.get(worker.index())?;
        let newest = worker.pid != 0 && worker.generation >= self.header.configured;
        newest.then_some(worker.generation)
    }

    /// Accepts the keys of the newest configuration's pools as a worker has just read them. The
    /// worker and its waiters then belong to the returned generation.
    ///
    /// # Errors
    /// When there is a newer configuration, the zone has no room for the keys, or a key whose id
    /// names locks has another id.
    pub fn change_keys(
        &mut self,
        worker: WorkerId,
        pools: &[PoolConfig],
        now: Now,
    ) -> Result<Changed, ChangeError> {
        if self.generation_of(worker).is_none() {
            return Err(ChangeError::Superseded);
        }
        self.check_ids(pools)?;
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

    /// Checks that keys whose ids name locks keep them while a lease can be granted or runs. Other
    /// machines lock the key by its id, so with two ids it could be leased twice.
    fn check_ids(&self, pools: &[PoolConfig]) -> Result<(), ChangeError> {
        let known = self.known_keys();
        for pool in pools {
            let Some(at) = self.pool_named(&pool.name) else {
                continue;
            };
            let is_renamed = |key: &KeyConfig| {
                let index = known.get(&(at as u32, key.fingerprint));
                let record = index.map(|&index| &self.keys[index]);
                record.is_some_and(|record| {
                    let is_used = record.state == presence::CURRENT || record.in_use > 0;
                    let is_named = record.id != 0 && key.id != 0;
                    is_used && is_named && record.id != key.id
                })
            };
            if pool.keys.iter().any(is_renamed) {
                return Err(ChangeError::Renamed(pool.name.clone()));
            }
        }
        Ok(())
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
                // A key of a later generation was entered by a process that died before it
                // completed the generation.
                let same = record.state == presence::CURRENT
                    && record.born <= self.header.generation
                    && (record.weight, record.slots) == (key.weight, key.slots)
                    && self.keys[index].line == key.line;
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

    pub(crate) fn wake_all_but(&mut self, worker: WorkerId) {
        for (at, other) in (0u32..).zip(self.workers.iter()) {
            if other.pid != 0 && at != worker.0 {
                self.wakes.insert(WorkerId(at));
            }
        }
    }

    /// Whether the key belongs to the newest generation, has a lease, or can be granted to the
    /// worker.
    #[must_use]
    pub fn is_in_use(&self, key: u32, worker: WorkerId) -> bool {
        let worker = self.workers.get(worker.index());
        let generation = worker.map_or(0, |worker| worker.generation);
        let key = self.keys.get(key as usize);
        // A newer key can have got the index of a removed one.
        key.is_some_and(|key| {
            key.made <= generation
                && (key.state == presence::CURRENT
                    || key.in_use > 0
                    || Self::knows(key, generation))
        })
    }
}

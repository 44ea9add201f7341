//! The configuration in force with its ids in the shared zone, and the keys in use.

use std::cell::RefCell;
use std::rc::Rc;

use openai_core::circuit::CircuitId;
use openai_core::lease::PoolId;

use super::keys::KeyTable;
use crate::config::{Pool, PoolKey};

/// The configuration with its ids in the shared zone.
pub struct TakenOver {
    pub generation: u64,
    /// Name of this machine and configuration in the queues of Redlock pools.
    pub instance: String,
    /// In the order of the configuration.
    pub pools: Vec<KnownPool>,
    /// Circuits of the upstreams, in the order of the configuration; `None` if the zone had
    /// no room.
    pub circuits: Vec<Option<CircuitId>>,
}

/// A pool as the shared zone knows it.
pub struct KnownPool {
    pub id: PoolId,
    pub name: String,
    pub keys: Rc<KeyTable>,
}

impl KnownPool {
    /// A pool with the indexes of its keys in the zone.
    pub fn new(pool: &Pool, id: PoolId, indexes: &[u32]) -> Self {
        Self {
            id,
            name: pool.name.clone(),
            keys: Rc::new(KeyTable::new(pool.keys.clone(), indexes)),
        }
    }

    /// The ids of its newest keys.
    pub fn key_ids(&self) -> Vec<String> {
        let keys = self.keys.newest();
        keys.iter().map(|key| key.id.clone()).collect()
    }
}

thread_local! {
    /// Set by the master; workers inherit it.
    static TAKEN_OVER: RefCell<Option<Rc<TakenOver>>> = const { RefCell::new(None) };
}

/// The configuration in force; `None` if it has no pools.
pub fn taken_over() -> Option<Rc<TakenOver>> {
    TAKEN_OVER.with_borrow(Option::clone)
}

/// Sets the configuration that is about to be in force.
pub fn set_taken_over(known: Option<TakenOver>) {
    TAKEN_OVER.set(known.map(Rc::new));
}

/// A key by the position of its pool, and its index in the zone.
pub fn key(pool: usize, index: u32) -> Option<Rc<PoolKey>> {
    taken_over()?.pools.get(pool)?.keys.get(index)
}

/// Number of newest keys of a pool, by its position in the configuration.
pub fn key_count(pool: usize) -> Option<usize> {
    Some(taken_over()?.pools.get(pool)?.keys.len())
}

/// The ids of a pool's newest keys, by its position in the configuration.
pub fn key_ids_of(pool: usize) -> Option<Vec<String>> {
    Some(taken_over()?.pools.get(pool)?.key_ids())
}

/// Names of all pools, each with the ids of its newest keys.
pub(super) fn key_ids() -> Vec<(String, Vec<String>)> {
    let known = taken_over();
    let pools = known.iter().flat_map(|known| &known.pools);
    pools
        .map(|pool| (pool.name.clone(), pool.key_ids()))
        .collect()
}

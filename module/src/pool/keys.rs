//! The keys of a pool in this worker.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::config::PoolKey;

/// The keys of a pool. A removed key stays while it has a lease or this worker can get one.
#[derive(Default)]
pub struct KeyTable {
    /// Newest keys, in the order of their sources.
    newest: RefCell<Vec<Rc<PoolKey>>>,
    /// Keys by their index in the zone, including removed keys that are still in use.
    indexed: RefCell<FxHashMap<u32, Rc<PoolKey>>>,
}

impl KeyTable {
    /// A table of these keys; `indexes` are their indexes in the zone, in the same order.
    pub fn new(keys: Vec<Rc<PoolKey>>, indexes: &[u32]) -> Self {
        let table = Self::default();
        table.replace(keys, indexes);
        table
    }

    /// The newest keys.
    pub fn newest(&self) -> Vec<Rc<PoolKey>> {
        self.newest.borrow().clone()
    }

    /// Number of newest keys.
    pub fn len(&self) -> usize {
        self.newest.borrow().len()
    }

    /// A key by its index in the zone.
    pub fn get(&self, index: u32) -> Option<Rc<PoolKey>> {
        self.indexed.borrow().get(&index).cloned()
    }

    /// All keys, including removed ones, with their indexes in the zone.
    pub fn indexed(&self) -> Vec<(u32, Rc<PoolKey>)> {
        let indexed = self.indexed.borrow();
        let keys = indexed.iter().map(|(&index, key)| (index, Rc::clone(key)));
        keys.collect()
    }

    /// Forgets the keys for whose index `is_there` returns false.
    pub fn retain(&self, mut is_there: impl FnMut(u32) -> bool) {
        self.indexed
            .borrow_mut()
            .retain(|&index, _| is_there(index));
    }

    /// Replaces the newest keys; `indexes` are their indexes in the zone, in the same order.
    pub fn replace(&self, keys: Vec<Rc<PoolKey>>, indexes: &[u32]) {
        let mut indexed = self.indexed.borrow_mut();
        let new = indexes.iter().copied().zip(keys.iter().cloned());
        // The zone had no room for the others.
        indexed.extend(new.filter(|&(index, _)| index != u32::MAX));
        *self.newest.borrow_mut() = keys;
    }
}

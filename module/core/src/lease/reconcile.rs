//! Applying a new configuration without losing or duplicating a lease.

use std::collections::HashMap;

use thiserror::Error;

use super::layout::Capacity;
use super::policy::KeyPolicy;
use super::record::{Balance, KeyRecord, MAX_POOL_NAME, NONE, presence, slot_state};
use super::time::Now;
use super::zone::{PoolId, Zone};

/// A key of the configuration.
#[derive(Clone, Debug)]
pub struct KeyConfig {
    /// Identifies the key across reloads, independent of its position and id.
    pub fingerprint: [u8; 16],
    /// Share under [`Balance::Weighted`] and [`Balance::LeastBusy`].
    pub weight: u32,
    /// Maximum number of concurrent leases.
    pub slots: u32,
    /// Hash of the key's configuration line. A changed line ends a cool-down.
    pub line: u64,
    /// [`super::id_hash`] of the id if it names locks on nodes; otherwise 0. Only another
    /// configuration can change it.
    pub id: u64,
}

/// A pool of the configuration.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Identifies the pool across reloads.
    pub name: String,
    /// How keys are chosen.
    pub balance: Balance,
    /// Maximum number of waiting requests.
    pub queue: u32,
    /// Limits and cool-downs of the keys.
    pub policy: KeyPolicy,
    /// The keys; fingerprints are unique.
    pub keys: Vec<KeyConfig>,
}

/// Why the zone cannot accept a configuration.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReconcileError {
    /// The tables are too small.
    #[error("{needed} {what} are needed, the zone has room for {room}; {megabytes}m is sufficient")]
    TooSmall {
        /// The table that is too small.
        what: &'static str,
        /// Required entries, including leases that still run on retired keys.
        needed: usize,
        /// Available entries.
        room: usize,
        /// A sufficient size of the zone in MiB, including the memory of its allocator.
        megabytes: usize,
    },
    /// A name is longer than its field in the record.
    #[error("the pool's name is longer than {MAX_POOL_NAME} bytes")]
    NameTooLong,
}

/// A configuration, as accepted by the zone.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Generation number.
    pub generation: u64,
    /// For each pool, in the configuration's order: its index and the indexes of its keys. A key
    /// that was left out has an index that no key has.
    pub pools: Vec<(PoolId, Vec<u32>)>,
}

impl Zone<'_> {
    /// Checks that the zone can accept a configuration, regardless of what is leased.
    pub fn check(&self, pools: &[PoolConfig]) -> Result<(), ReconcileError> {
        self.check_pools(pools)?;
        // Everything that older workers may still hold counts in full, because it may not be
        // released before the configuration is applied.
        let retained = self.pools.iter().filter(|p| p.state != presence::UNUSED);
        let old_queue: usize = retained.map(|p| p.waiting as usize).sum();
        let queue: usize = pools.iter().map(|pool| pool.queue as usize).sum();
        let (keys, slots) = self.needs(pools);
        let waiters = old_queue + queue;
        let megabytes = megabytes_for(keys, slots, waiters);
        fits("keys", keys, self.keys.len(), megabytes)?;
        fits("slots", slots, self.slots.len(), megabytes)?;
        fits("waiters", waiters, self.waiters.len(), megabytes)
    }

    /// Checks that there is room for a changed set of keys in the same pools.
    pub(crate) fn check_keys(&self, pools: &[PoolConfig]) -> Result<(), ReconcileError> {
        let (keys, slots) = self.needs(pools);
        let megabytes = megabytes_for(keys, slots, self.waiters.len());
        fits("keys", keys, self.keys.len(), megabytes)?;
        fits("slots", slots, self.slots.len(), megabytes)
    }

    /// Number of keys and slots after the change, including retired ones.
    fn needs(&self, pools: &[PoolConfig]) -> (usize, usize) {
        let old_keys = self.keys.iter().filter(|k| k.state != presence::UNUSED);
        let old_slots = self.slots.iter().filter(|s| s.state != slot_state::UNUSED);
        let (mut keys, mut slots) = (old_keys.count(), old_slots.count());
        let known = self.known_keys();
        for pool in pools {
            let at = self.pool_named(&pool.name);
            for key in &pool.keys {
                let old = at.and_then(|at| known.get(&(at as u32, key.fingerprint)));
                keys += usize::from(old.is_none());
                let new = old.map_or(key.slots, |&k| key.slots.saturating_sub(self.keys[k].slots));
                slots += new as usize;
            }
        }
        (keys, slots)
    }

    /// Applies a configuration that [`Zone::check`] accepted.
    ///
    /// What happened since then cannot make it fail, because nginx's master would exit. Requests
    /// that have begun to wait are in the table already. If workers have brought other keys and the
    /// room does not suffice any more, the last keys and slots of the configuration are left out
    /// until the next change.
    ///
    /// # Errors
    /// When the configuration does not fit even without retired keys and waiters, so that it cannot
    /// have been checked.
    pub fn accept(&mut self, pools: &[PoolConfig], now: Now) -> Result<Accepted, ReconcileError> {
        self.drop_departed();
        self.check_alone(pools)?;
        let accepted = self.enter(pools)?;
        self.header.configured = accepted.generation;
        self.offer_all(now);
        Ok(accepted)
    }

    /// Checks that the configuration fits without regard to keys and waiters of older ones.
    fn check_alone(&self, pools: &[PoolConfig]) -> Result<(), ReconcileError> {
        self.check_pools(pools)?;
        let keys = pools.iter().flat_map(|pool| &pool.keys);
        let slots: usize = keys.clone().map(|key| key.slots as usize).sum();
        let keys = keys.count();
        let megabytes = megabytes_for(keys, slots, 0);
        fits("keys", keys, self.keys.len(), megabytes)?;
        fits("slots", slots, self.slots.len(), megabytes)
    }

    /// Checks the names and the number of the pools.
    fn check_pools(&self, pools: &[PoolConfig]) -> Result<(), ReconcileError> {
        if pools.iter().any(|p| p.name.len() > MAX_POOL_NAME) {
            return Err(ReconcileError::NameTooLong);
        }
        let retained = self.pools.iter().filter(|p| p.state != presence::UNUSED);
        let added = pools
            .iter()
            .filter(|p| self.pool_named(&p.name).is_none())
            .count();
        let megabytes = megabytes_for(0, 0, 0);
        fits(
            "pools",
            retained.count() + added,
            self.pools.len(),
            megabytes,
        )
    }

    /// Grants all free slots to waiters.
    pub(crate) fn offer_all(&mut self, now: Now) {
        for key in 0..self.keys.len() {
            if self.keys[key].state != presence::UNUSED {
                self.reckon(key, now);
            }
            self.offer(key, now);
        }
    }

    /// Creates a generation of these pools and keys. Leaves out keys and slots for which there is
    /// no room.
    pub(crate) fn enter(&mut self, pools: &[PoolConfig]) -> Result<Accepted, ReconcileError> {
        let generation = self.header.generation + 1;
        self.retire_all(generation);
        let mut accepted = Vec::with_capacity(pools.len());
        for config in pools {
            let pool = self.enter_pool(config, generation)?;
            accepted.push((PoolId(pool as u32), Vec::with_capacity(config.keys.len())));
        }
        let known = self.known_keys();
        let mut unused = 0;
        for (config, (pool, keys)) in pools.iter().zip(&mut accepted) {
            for key in &config.keys {
                let at = match known.get(&(pool.0, key.fingerprint)) {
                    Some(&at) => Some(at),
                    None => self.new_key(&mut unused, key, *pool),
                };
                if let Some(at) = at {
                    self.enter_key(at, key, generation);
                }
                keys.push(at.map_or(NONE, |at| at as u32));
            }
        }
        self.enter_slots();
        self.header.generation = generation;
        self.rebuild();
        Ok(Accepted {
            generation,
            pools: accepted,
        })
    }

    pub(crate) fn known_keys(&self) -> HashMap<(u32, [u8; 16]), usize> {
        let used = self
            .keys
            .iter()
            .enumerate()
            .filter(|(_, k)| k.state != presence::UNUSED);
        used.map(|(at, k)| ((k.pool, k.fingerprint), at)).collect()
    }

    /// Drops retired keys and pools that no worker can use any more.
    pub(crate) fn drop_departed(&mut self) {
        let oldest = self.oldest_generation();
        let mut peopled = vec![false; self.pools.len()];
        for key in self.keys.iter_mut() {
            if key.state == presence::RETIRED && key.in_use == 0 && key.retired <= oldest {
                key.state = presence::UNUSED;
            }
            if key.state != presence::UNUSED {
                peopled[key.pool as usize] = true;
            }
        }
        for (pool, peopled) in self.pools.iter_mut().zip(peopled) {
            if pool.state == presence::RETIRED && !peopled && pool.waiting == 0 {
                pool.state = presence::UNUSED;
            }
        }
        self.rebuild();
    }

    fn retire_all(&mut self, generation: u64) {
        for key in self
            .keys
            .iter_mut()
            .filter(|k| k.state == presence::CURRENT)
        {
            key.state = presence::RETIRED;
            key.retired = generation;
        }
        for pool in self
            .pools
            .iter_mut()
            .filter(|p| p.state == presence::CURRENT)
        {
            pool.state = presence::RETIRED;
        }
    }

    fn enter_pool(
        &mut self,
        config: &PoolConfig,
        generation: u64,
    ) -> Result<usize, ReconcileError> {
        let known = self.pool_named(&config.name);
        let unused = || self.pools.iter().position(|p| p.state == presence::UNUSED);
        let Some(at) = known.or_else(unused) else {
            return Err(self.full("pools", self.pools.len()));
        };
        let pool = &mut self.pools[at];
        if known.is_none() {
            *pool = bytemuck::Zeroable::zeroed();
            let name = config.name.as_bytes();
            let len = name.len().min(MAX_POOL_NAME);
            pool.name[..len].copy_from_slice(&name[..len]);
            pool.name_len = len as u16;
            pool.born = generation;
        }
        pool.balance = config.balance as u32;
        pool.queue = config.queue;
        config.policy.write(pool);
        pool.state = presence::CURRENT;
        Ok(at)
    }

    fn new_key(&mut self, from: &mut usize, config: &KeyConfig, pool: PoolId) -> Option<usize> {
        let free = self
            .keys
            .iter()
            .skip(*from)
            .position(|k| k.state == presence::UNUSED);
        let at = *from + free?;
        *from = at + 1;
        let blank: KeyRecord = bytemuck::Zeroable::zeroed();
        self.keys[at] = KeyRecord {
            fingerprint: config.fingerprint,
            made: self.header.generation + 1,
            pool: pool.0,
            cooling_at: NONE,
            free_slot: NONE,
            ..blank
        };
        self.ranks[at].heap_at = NONE;
        self.forget_service_locks_of(at as u32);
        self.ranks[at].pass = self.pools[pool.0 as usize].pass;
        Some(at)
    }

    fn enter_key(&mut self, at: usize, config: &KeyConfig, generation: u64) {
        let key = &mut self.keys[at];
        // `retire_all` has just retired all current keys for this generation. A key with another
        // value was left out by an earlier generation, whose workers do not know it.
        if key.state == presence::UNUSED || key.retired != generation {
            key.born = generation;
        }
        key.weight = config.weight;
        key.slots = config.slots;
        key.id = config.id;
        key.state = presence::CURRENT;
        if self.keys[at].line != config.line {
            self.keys[at].line = config.line;
            self.cancel_cool_down(at);
        }
    }

    /// Creates the slots that the configuration demands, as far as there is room.
    fn enter_slots(&mut self) {
        let mut present: HashMap<(u32, u32), ()> = HashMap::new();
        for slot in self.slots.iter().filter(|s| s.state != slot_state::UNUSED) {
            present.insert((slot.key, slot.ordinal), ());
        }
        let mut unused = 0;
        for key in 0..self.keys.len() {
            if self.keys[key].state != presence::CURRENT {
                continue;
            }
            for ordinal in 0..self.keys[key].slots {
                if present.contains_key(&(key as u32, ordinal)) {
                    continue;
                }
                let free = self
                    .slots
                    .iter()
                    .skip(unused)
                    .position(|s| s.state == slot_state::UNUSED);
                let Some(free) = free else {
                    return;
                };
                let at = unused + free;
                unused = at + 1;
                self.slots[at] = bytemuck::Zeroable::zeroed();
                self.slots[at].key = key as u32;
                self.slots[at].ordinal = ordinal;
                self.slots[at].owner = NONE;
                self.slots[at].state = slot_state::FREE;
            }
        }
    }

    fn full(&self, what: &'static str, room: usize) -> ReconcileError {
        let megabytes = megabytes_for(self.keys.len() + 1, self.slots.len() + 1, 0);
        ReconcileError::TooSmall {
            what,
            needed: room + 1,
            room,
            megabytes,
        }
    }
}

fn fits(
    what: &'static str,
    needed: usize,
    room: usize,
    megabytes: usize,
) -> Result<(), ReconcileError> {
    if needed <= room {
        return Ok(());
    }
    Err(ReconcileError::TooSmall {
        what,
        needed,
        room,
        megabytes,
    })
}

/// Two pages of the largest size in use, 64 KiB.
const PAGES: usize = 2 << 16;

/// A sufficient size of the zone in MiB. It includes a sixteenth of the size and two pages for the
/// slab allocator.
fn megabytes_for(keys: usize, slots: usize, waiters: usize) -> usize {
    let bytes = Capacity::bytes_for(keys, slots, waiters);
    (bytes + bytes / 16 + PAGES).div_ceil(1 << 20)
}

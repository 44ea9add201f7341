//! The zone's tables, and what all operations share.

use crate::circuit::Circuit;

use super::heap::{Heap, Order};
use super::layout::{Capacity, Fixed, LAYOUT, LayoutError, MAGIC, carve};
use super::record::{
    Balance, KeyRank, KeyRecord, MAX_POOL_NAME, NONE, PoolRecord, SlotRecord, WaiterRecord,
    WorkerRecord, ZoneHeader, presence, slot_state,
};
use super::service;
use super::worker::{WakeSet, WorkerId};

/// The index of a pool in the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolId(pub(crate) u32);

/// Current state of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolGauges {
    /// Held slots, including those that are held on other machines.
    pub held: u32,
    /// Waiting requests.
    pub waiting: u32,
    /// Slots of the newest configuration.
    pub slots: u32,
    /// Keys of the newest configuration.
    pub keys: u32,
    /// Keys that are cooling down.
    pub keys_cooling_down: u32,
    /// Free slots with a retained lock.
    pub retained: u32,
}

/// The zone, opened by the holder of its mutex.
pub struct Zone<'a> {
    pub(crate) header: &'a mut ZoneHeader,
    pub(crate) pools: &'a mut [PoolRecord],
    pub(crate) workers: &'a mut [WorkerRecord],
    pub(crate) circuits: &'a mut [Circuit],
    pub(crate) keys: &'a mut [KeyRecord],
    pub(crate) ranks: &'a mut [KeyRank],
    pub(crate) slots: &'a mut [SlotRecord],
    pub(crate) waiters: &'a mut [WaiterRecord],
    pub(crate) available: &'a mut [u32],
    pub(crate) deadlines: &'a mut [u32],
    pub(crate) waiting: &'a mut [u32],
    pub(crate) cooling: &'a mut [u32],
    pub(crate) services: &'a mut [service::ServiceRecord],
    pub(crate) notes: &'a mut [service::ServiceTexts],
    pub(crate) wakes: WakeSet,
    pub(crate) alarm: bool,
    /// The worker that changes the zone; see [`Zone::act_for`].
    pub(crate) acting: Option<WorkerId>,
}

impl<'a> Zone<'a> {
    /// Creates an empty zone in these bytes.
    pub fn format(bytes: &'a mut [u8]) -> Result<Self, LayoutError> {
        let capacity = Capacity::of(bytes.len())?;
        bytes.fill(0);
        let mut zone = Self::divide(bytes, capacity)?;
        *zone.header = ZoneHeader {
            magic: MAGIC,
            layout: LAYOUT,
            generation: 0,
            configured: 0,
            fence: 0,
            arrivals: 0,
            units: capacity.units as u32,
            free_slot: NONE,
            free_waiter: NONE,
            deadlines: 0,
            cooling: 0,
            recalls: 0,
            started_us: 0,
        };
        zone.rebuild();
        Ok(zone)
    }

    /// Opens a zone that [`Zone::format`] created in the same bytes.
    pub fn open(bytes: &'a mut [u8]) -> Result<Self, LayoutError> {
        let capacity = Capacity::of(bytes.len())?;
        let zone = Self::divide(bytes, capacity)?;
        if zone.header.magic != MAGIC
            || zone.header.layout != LAYOUT
            || zone.header.units as usize != capacity.units
        {
            return Err(LayoutError::Foreign);
        }
        Ok(zone)
    }

    fn divide(mut bytes: &'a mut [u8], capacity: Capacity) -> Result<Self, LayoutError> {
        let Capacity { units, services } = capacity;
        let rest = &mut bytes;
        let [fixed] = carve::<Fixed>(rest, 1)? else {
            return Err(LayoutError::Misaligned);
        };
        let Fixed {
            header,
            pools,
            workers,
            circuits,
        } = fixed;
        let (keys, ranks) = (carve(rest, units)?, carve(rest, units)?);
        let (slots, waiters) = (carve(rest, units)?, carve(rest, units)?);
        let heaps = carve(rest, 4 * units)?;
        let (by_key, by_request) = heaps.split_at_mut(2 * units);
        let (available, cooling) = by_key.split_at_mut(units);
        let (deadlines, waiting) = by_request.split_at_mut(units);
        let (services, notes) = (carve(rest, services)?, carve(rest, services)?);
        Ok(Self {
            header,
            pools,
            workers,
            circuits,
            keys,
            ranks,
            slots,
            waiters,
            available,
            deadlines,
            waiting,
            cooling,
            services,
            notes,
            wakes: WakeSet::default(),
            alarm: false,
            acting: None,
        })
    }

    /// The workers to wake for the changes since the zone was opened. Wake them after releasing
    /// the mutex.
    #[must_use]
    pub fn take_wakes(&mut self) -> WakeSet {
        core::mem::take(&mut self.wakes)
    }

    /// Time at which [`Zone::expire`] must be called, on the monotonic clock. `None` unless, since
    /// the zone was opened, a cool-down has begun or changed while requests wait for the key's
    /// pool.
    #[must_use]
    pub fn take_alarm(&mut self) -> Option<u64> {
        core::mem::take(&mut self.alarm).then(|| self.next_deadline())?
    }

    /// Stores the creation time if it is not set; returns the stored one.
    pub fn started_us(&mut self, now_us: u64) -> u64 {
        if self.header.started_us == 0 {
            self.header.started_us = now_us;
        }
        self.header.started_us
    }

    /// Current state of a pool.
    #[must_use]
    pub fn gauges(&self, pool: PoolId) -> PoolGauges {
        let pool = &self.pools[pool.0 as usize];
        PoolGauges {
            held: pool.held,
            waiting: pool.waiting,
            slots: pool.slots,
            keys: pool.keys,
            keys_cooling_down: pool.cooling,
            retained: pool.retained,
        }
    }

    /// Time on the monotonic clock at which the first lease expires or the first cool-down ends.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.next_expiry()
            .into_iter()
            .chain(self.next_cool_down_end())
            .min()
    }

    /// Deadline of the lease that expires first.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        if self.header.deadlines == 0 {
            return None;
        }
        Some(self.slots[self.deadlines[0] as usize].deadline_ms)
    }

    /// When the first cool-down ends.
    pub(crate) fn next_cool_down_end(&self) -> Option<u64> {
        if self.header.cooling == 0 {
            return None;
        }
        Some(self.keys[self.cooling[0] as usize].until_ms)
    }

    /// Whether any request waits, in any pool.
    #[must_use]
    pub fn has_waiters(&self) -> bool {
        self.pools.iter().any(|pool| pool.waiting > 0)
    }

    /// Number of held slots of all pools, including those that are held on other machines.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.header.deadlines
    }

    /// Whether the key has a free slot and may have another lease. After a reload with fewer
    /// slots, leases on surplus slots still count.
    pub(crate) fn has_room(key: &KeyRecord) -> bool {
        key.free_slot != NONE && key.in_use < key.cap
    }

    /// Whether the configuration of `generation` contains the key.
    pub(crate) fn knows(key: &KeyRecord, generation: u64) -> bool {
        match key.state {
            presence::CURRENT => key.born <= generation,
            presence::RETIRED => key.born <= generation && generation < key.retired,
            _ => false,
        }
    }

    pub(crate) fn pool_named(&self, name: &str) -> Option<usize> {
        self.pools.iter().position(|p| {
            p.state != presence::UNUSED
                && p.name[..(p.name_len as usize).min(MAX_POOL_NAME)] == *name.as_bytes()
        })
    }

    /// The pool's keys that have room for another lease, as a heap.
    pub(crate) fn available_keys(&mut self, pool: usize) -> Heap<'_, ByRank<'_>> {
        let p = &mut self.pools[pool];
        let from = p.available_at as usize;
        Heap {
            items: &mut self.available[from..],
            len: &mut p.available,
            order: ByRank {
                keys: self.keys,
                ranks: self.ranks,
                balance: Balance::from_word(p.balance),
            },
        }
    }

    /// Held slots as a heap by deadline.
    pub(crate) fn held_slots(&mut self) -> Heap<'_, ByDeadline<'_>> {
        Heap {
            items: self.deadlines,
            len: &mut self.header.deadlines,
            order: ByDeadline { slots: self.slots },
        }
    }

    /// Keys in a cool-down, as a heap by its end.
    pub(crate) fn cooling_keys(&mut self) -> Heap<'_, ByCoolDownEnd<'_>> {
        Heap {
            items: self.cooling,
            len: &mut self.header.cooling,
            order: ByCoolDownEnd { keys: self.keys },
        }
    }

    /// The heap of a pool's waiters.
    pub(crate) fn waiting_in(&mut self, pool: usize) -> Heap<'_, ByPriority<'_>> {
        let p = &mut self.pools[pool];
        let from = p.waiting_at as usize;
        let to = from + p.waiting_room as usize;
        Heap {
            items: &mut self.waiting[from..to],
            len: &mut p.waiting,
            order: ByPriority {
                waiters: self.waiters,
            },
        }
    }

    /// Returns a slot without a lease to its key, or to the unused slots if the configuration no
    /// longer needs it.
    pub(crate) fn shelve(&mut self, slot: u32) {
        let record = &mut self.slots[slot as usize];
        let key = record.key as usize;
        let surplus =
            self.keys[key].state == presence::UNUSED || record.ordinal >= self.keys[key].slots;
        if surplus {
            *record = bytemuck::Zeroable::zeroed();
            record.heap_at = NONE;
            record.next_free = self.header.free_slot;
            self.header.free_slot = slot;
            self.rank(key);
            return;
        }
        record.state = slot_state::FREE;
        self.list_free(slot);
        self.rank(key);
    }

    /// Adds a key to its pool's heap, moves it or removes it, as its free slots and state
    /// require.
    pub(crate) fn rank(&mut self, key: usize) {
        let record = &self.keys[key];
        let pool = record.pool as usize;
        let listed = self.ranks[key].heap_at != NONE;
        let wanted = record.state == presence::CURRENT && Self::has_room(record);
        let mut heap = self.available_keys(pool);
        match (listed, wanted) {
            (false, true) => {
                heap.push(key as u32);
            }
            (true, true) => heap.update(key as u32),
            (true, false) => {
                heap.remove(key as u32);
            }
            (false, false) => {}
        }
    }
}

/// Keys in the order in which they are granted.
pub(crate) struct ByRank<'a> {
    keys: &'a [KeyRecord],
    ranks: &'a mut [KeyRank],
    balance: Balance,
}

impl Order for ByRank<'_> {
    fn before(&self, a: u32, b: u32) -> bool {
        ranks_before(self.keys, self.ranks, self.balance, a, b)
    }
    fn placed(&mut self, id: u32, at: u32) {
        self.ranks[id as usize].heap_at = at;
    }
    fn place(&self, id: u32) -> u32 {
        self.ranks[id as usize].heap_at
    }
}

pub(crate) fn ranks_before(
    keys: &[KeyRecord],
    ranks: &[KeyRank],
    balance: Balance,
    a: u32,
    b: u32,
) -> bool {
    if balance == Balance::LeastBusy {
        let (x, y) = (&keys[a as usize], &keys[b as usize]);
        let busy_x = u64::from(x.in_use) * u64::from(y.weight);
        let busy_y = u64::from(y.in_use) * u64::from(x.weight);
        if busy_x != busy_y {
            return busy_x < busy_y;
        }
    }
    (ranks[a as usize].pass, a) < (ranks[b as usize].pass, b)
}

/// Held slots, ordered by deadline.
pub(crate) struct ByDeadline<'a> {
    slots: &'a mut [SlotRecord],
}

impl Order for ByDeadline<'_> {
    fn before(&self, a: u32, b: u32) -> bool {
        self.slots[a as usize].deadline_ms < self.slots[b as usize].deadline_ms
    }
    fn placed(&mut self, id: u32, at: u32) {
        self.slots[id as usize].heap_at = at;
    }
    fn place(&self, id: u32) -> u32 {
        self.slots[id as usize].heap_at
    }
}

/// Keys in a cool-down, ordered by its end.
pub(crate) struct ByCoolDownEnd<'a> {
    keys: &'a mut [KeyRecord],
}

impl Order for ByCoolDownEnd<'_> {
    fn before(&self, a: u32, b: u32) -> bool {
        self.keys[a as usize].until_ms < self.keys[b as usize].until_ms
    }
    fn placed(&mut self, id: u32, at: u32) {
        self.keys[id as usize].cooling_at = at;
    }
    fn place(&self, id: u32) -> u32 {
        self.keys[id as usize].cooling_at
    }
}

/// Waiters, the highest priority first, then the longest waiting.
pub(crate) struct ByPriority<'a> {
    waiters: &'a mut [WaiterRecord],
}

pub(crate) fn turn(waiter: &WaiterRecord) -> (core::cmp::Reverse<i32>, u64) {
    (core::cmp::Reverse(waiter.priority), waiter.arrival)
}

impl Order for ByPriority<'_> {
    fn before(&self, a: u32, b: u32) -> bool {
        turn(&self.waiters[a as usize]) < turn(&self.waiters[b as usize])
    }
    fn placed(&mut self, id: u32, at: u32) {
        self.waiters[id as usize].heap_at = at;
    }
    fn place(&self, id: u32) -> u32 {
        self.waiters[id as usize].heap_at
    }
}

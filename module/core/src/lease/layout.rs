//! How the zone's bytes are divided.

use core::mem::size_of;

use thiserror::Error;

use crate::circuit::Circuit;

use super::record::{
    KeyHealth, KeyRecord, NONE, PoolRecord, SlotRecord, WaiterRecord, WorkerRecord, ZoneHeader,
};
use super::service;

pub(crate) const MAGIC: u64 = u64::from_be_bytes(*b"oailease");
/// Increased whenever the layout of a record changes.
pub(crate) const LAYOUT: u64 = 11;

/// Maximum number of concurrent workers, including those of older configurations.
pub(crate) const WORKERS: usize = 256;
/// Maximum number of pools, including retired ones.
pub(crate) const POOLS: usize = 256;
/// Maximum number of upstreams with a circuit.
pub const MAX_CIRCUITS: usize = 64;

/// Why the bytes are not a zone.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LayoutError {
    /// Too few bytes for even one key.
    #[error("{0} bytes are too few for a zone")]
    TooSmall(usize),
    /// Written by another program or another version.
    #[error("the zone was created by another version of the module")]
    Foreign,
    /// The bytes do not begin on an eight-byte boundary.
    #[error("the zone is not aligned")]
    Misaligned,
}

/// How many records of each kind a zone holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// KeyRecord pools.
    pub pools: usize,
    /// WorkerRecord processes.
    pub workers: usize,
    /// API keys, over all pools.
    pub keys: usize,
    /// Slots, over all keys.
    pub slots: usize,
    /// Waiting requests, over all pools.
    pub waiters: usize,
    /// Locks of services, over all pools.
    pub services: usize,
}

const FIXED: usize = size_of::<ZoneHeader>()
    + POOLS * size_of::<PoolRecord>()
    + WORKERS * size_of::<WorkerRecord>()
    + MAX_CIRCUITS * size_of::<Circuit>();
const HEAP_ITEM: usize = size_of::<u32>();
/// One key, one slot and one waiter, with their heap entries.
const UNIT: usize = size_of::<KeyRecord>()
    + size_of::<KeyHealth>()
    + size_of::<SlotRecord>()
    + size_of::<WaiterRecord>()
    + 4 * HEAP_ITEM;

/// A service lock. Service locks take an eighth of the zone.
const SERVICE: usize = size_of::<service::ServiceRecord>() + size_of::<service::ServiceTexts>();
const MOST_SERVICES: usize = 4096;

fn services_in(bytes: usize) -> usize {
    (bytes / 8 / SERVICE).min(MOST_SERVICES)
}

impl Capacity {
    /// The capacity of a zone of this size.
    pub fn of(bytes: usize) -> Result<Self, LayoutError> {
        // An even number keeps the records after the four-byte heap entries aligned.
        let services = services_in(bytes);
        let left = bytes.saturating_sub(FIXED + services * SERVICE);
        let units = (left / UNIT).min(NONE as usize / 2) & !1;
        if units == 0 {
            return Err(LayoutError::TooSmall(bytes));
        }
        Ok(Self {
            pools: POOLS,
            workers: WORKERS,
            keys: units,
            slots: units,
            waiters: units,
            services,
        })
    }

    /// Size of a zone for that many keys, slots and waiters.
    #[must_use]
    pub fn bytes_for(keys: usize, slots: usize, waiters: usize) -> usize {
        let rest = FIXED + (keys.max(slots).max(waiters) + 1) * UNIT;
        rest + services_in(rest + rest / 7 + SERVICE) * SERVICE
    }
}

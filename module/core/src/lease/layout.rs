//! How the zone's bytes are divided.

use core::mem::size_of;

use thiserror::Error;

use crate::circuit::Circuit;

use super::record::{Header, Health, Key, NONE, Pool, Slot, Waiter, Worker};
use super::service;

pub(crate) const MAGIC: u64 = u64::from_be_bytes(*b"oailease");
/// Raised whenever a record changes its shape.
pub(crate) const LAYOUT: u64 = 11;

/// Workers alive at the same time, those of older configurations included.
pub(crate) const WORKERS: usize = 256;
/// Pools, retired ones included.
pub(crate) const POOLS: usize = 256;
/// Upstreams with a circuit.
pub const MAX_CIRCUITS: usize = 64;

/// Why the bytes are not a zone.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LayoutError {
    /// Too few bytes for even one key.
    #[error("{0} bytes are too few for a zone")]
    TooSmall(usize),
    /// Another program's bytes, or another version's.
    #[error("the zone was made by another version of the module")]
    Foreign,
    /// The bytes do not begin on an eight-byte boundary.
    #[error("the zone is not aligned")]
    Misaligned,
}

/// How many records of each kind a zone holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Key pools.
    pub pools: usize,
    /// Worker processes.
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

const FIXED: usize = size_of::<Header>()
    + POOLS * size_of::<Pool>()
    + WORKERS * size_of::<Worker>()
    + MAX_CIRCUITS * size_of::<Circuit>();
const HEAP_ITEM: usize = size_of::<u32>();
/// One key, one slot and one waiter, each with its places in heaps.
const UNIT: usize = size_of::<Key>()
    + size_of::<Health>()
    + size_of::<Slot>()
    + size_of::<Waiter>()
    + 4 * HEAP_ITEM;

/// A lock of a service: they have an eighth of the zone.
const SERVICE: usize = size_of::<service::Head>() + size_of::<service::Note>();
const MOST_SERVICES: usize = 4096;

fn services_in(bytes: usize) -> usize {
    (bytes / 8 / SERVICE).min(MOST_SERVICES)
}

impl Capacity {
    /// What fits into so many bytes.
    pub fn of(bytes: usize) -> Result<Self, LayoutError> {
        // An even number keeps the records behind the heaps of four-byte items aligned.
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

    /// The bytes that hold so many keys, slots and waiters.
    #[must_use]
    pub fn bytes_for(keys: usize, slots: usize, waiters: usize) -> usize {
        let rest = FIXED + (keys.max(slots).max(waiters) + 1) * UNIT;
        rest + services_in(rest + rest / 7 + SERVICE) * SERVICE
    }
}

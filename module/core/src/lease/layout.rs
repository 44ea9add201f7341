//! How the zone's bytes are divided.

use core::mem::size_of;

use bytemuck::{Pod, Zeroable};
use thiserror::Error;

use crate::circuit::Circuit;

use super::record::{
    CACHE_LINES, KeyRank, KeyRecord, NONE, PoolRecord, SlotRecord, WaiterRecord, WorkerRecord,
    ZoneHeader,
};
use super::service;

pub(crate) const MAGIC: u64 = u64::from_be_bytes(*b"oailease");
/// Increased whenever the layout of a record changes.
pub(crate) const LAYOUT: u64 = 14;

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

/// Number of records of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Number of API keys over all pools; also the number of slots and of waiters.
    pub(crate) units: usize,
    /// Number of service locks over all pools.
    pub(crate) services: usize,
}

/// The part of the zone that does not depend on its size.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Fixed {
    pub(crate) header: ZoneHeader,
    pub(crate) pools: [PoolRecord; POOLS],
    pub(crate) workers: [WorkerRecord; WORKERS],
    pub(crate) circuits: [Circuit; MAX_CIRCUITS],
}

const TABLES: usize = 8;
/// Bytes of the fixed part, and the most that the alignment of the tables takes.
const FIXED: usize = size_of::<Fixed>() + TABLES * CACHE_LINES;
/// One key, one slot and one waiter, with their entries in the four heaps.
const UNIT: usize = size_of::<KeyRecord>()
    + size_of::<KeyRank>()
    + size_of::<SlotRecord>()
    + size_of::<WaiterRecord>()
    + 4 * size_of::<u32>();

/// Bytes of a service lock. Service locks take at most an eighth of the zone.
const SERVICE: usize = size_of::<service::ServiceRecord>() + size_of::<service::ServiceTexts>();
const MOST_SERVICES: usize = 4096;

fn services_in(bytes: usize) -> usize {
    (bytes / 8 / SERVICE).min(MOST_SERVICES)
}

/// Takes a table of `count` records from the beginning of the bytes.
pub(crate) fn carve<'a, T: Pod>(
    bytes: &mut &'a mut [u8],
    count: usize,
) -> Result<&'a mut [T], LayoutError> {
    let size = count * size_of::<T>();
    let whole = core::mem::take(bytes);
    let length = whole.len();
    let halves = whole.split_at_mut_checked(size.next_multiple_of(CACHE_LINES));
    let (table, rest) = halves.ok_or(LayoutError::TooSmall(length))?;
    *bytes = rest;
    bytemuck::try_cast_slice_mut(&mut table[..size]).map_err(|_| LayoutError::Misaligned)
}

impl Capacity {
    /// The capacity of a zone of this size in bytes. Fails if there is no room for a key.
    pub fn of(bytes: usize) -> Result<Self, LayoutError> {
        let services = services_in(bytes);
        let left = bytes.saturating_sub(FIXED + services * SERVICE);
        let units = (left / UNIT).min(NONE as usize / 2);
        if units == 0 {
            return Err(LayoutError::TooSmall(bytes));
        }
        Ok(Self { units, services })
    }

    /// Size in bytes of a zone for that many keys, slots and waiters.
    #[must_use]
    pub fn bytes_for(keys: usize, slots: usize, waiters: usize) -> usize {
        let rest = FIXED + (keys.max(slots).max(waiters) + 1) * UNIT;
        rest + services_in(rest + rest / 7 + SERVICE) * SERVICE
    }
}

//! Records of the zone in shared memory.

use bytemuck::{Pod, Zeroable};
use openai_wire::Verdict;

use super::avoid::Avoid;

/// Bytes of two cache lines, which processors load together. All tables are aligned to them.
pub(crate) const CACHE_LINES: usize = 128;

/// No index: the end of a list, or not in a heap.
pub(crate) const NONE: u32 = u32::MAX;

/// Maximum length of a pool's name, in bytes.
pub const MAX_POOL_NAME: usize = 64;

/// How a pool chooses among the keys that have a free slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Balance {
    /// Round robin.
    #[default]
    RoundRobin = 0,
    /// In proportion to the keys' weights (stride scheduling).
    Weighted = 1,
    /// The key with the fewest leases for its weight.
    LeastBusy = 2,
    /// Uniformly at random.
    Random = 3,
}

impl Balance {
    pub(crate) fn from_word(word: u32) -> Self {
        match word {
            1 => Self::Weighted,
            2 => Self::LeastBusy,
            3 => Self::Random,
            _ => Self::RoundRobin,
        }
    }
}

/// States shared by pools and keys.
pub(crate) mod presence {
    /// The record is unused.
    pub(crate) const UNUSED: u32 = 0;
    /// Part of the newest configuration.
    pub(crate) const CURRENT: u32 = 1;
    /// Left out of the newest configuration; older workers may still use it.
    pub(crate) const RETIRED: u32 = 2;
}

/// States of a slot.
pub(crate) mod slot_state {
    pub(crate) const UNUSED: u16 = 0;
    pub(crate) const FREE: u16 = 1;
    pub(crate) const HELD: u16 = 2;
    /// Free, with a lock of this machine for the next lease. Listed among the key's free slots and
    /// in the heap of deadlines. The owner releases the lock if no lease takes it.
    pub(crate) const RETAINED: u16 = 3;
}

/// States of a waiter.
pub(crate) mod waiter_state {
    pub(crate) const UNUSED: u32 = 0;
    pub(crate) const WAITING: u32 = 1;
    /// A slot is held for it; its worker has not collected it yet.
    pub(crate) const SERVED: u32 = 2;
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ZoneHeader {
    pub(crate) magic: u64,
    pub(crate) layout: u64,
    /// The newest generation: that of the newest configuration, or of keys that its workers have
    /// read since.
    pub(crate) generation: u64,
    /// The first generation of the newest configuration.
    pub(crate) configured: u64,
    /// The highest fence ever granted.
    pub(crate) fence: u64,
    /// The arrival number of the next waiter.
    pub(crate) arrivals: u64,
    /// Number of keys, of slots and of waiters for which the zone has room.
    pub(crate) units: u32,
    pub(crate) free_slot: u32,
    pub(crate) free_waiter: u32,
    /// Number of held slots in the heap of deadlines.
    pub(crate) deadlines: u32,
    /// Number of keys in the heap of cool-downs.
    pub(crate) cooling: u32,
    /// Number of retained locks that were recalled, modulo 2^32.
    pub(crate) recalls: u32,
    /// When the zone was created, in microseconds of the wall clock; 0 if not known yet.
    pub(crate) started_us: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct PoolRecord {
    pub(crate) name: [u8; MAX_POOL_NAME],
    pub(crate) born: u64,
    /// Virtual time of stride scheduling: the pass of the last granted key.
    pub(crate) pass: u64,
    pub(crate) state: u32,
    pub(crate) name_len: u16,
    pub(crate) ramp: u16,
    pub(crate) balance: u32,
    pub(crate) queue: u32,
    /// Start and length of the pool's part of the heap of available keys.
    pub(crate) available_at: u32,
    pub(crate) available: u32,
    /// Start, capacity and length of the pool's part of the heap of waiters.
    pub(crate) waiting_at: u32,
    pub(crate) waiting_room: u32,
    pub(crate) waiting: u32,
    pub(crate) held: u32,
    pub(crate) slots: u32,
    /// Number of keys of the newest configuration, and how many of them are cooling down.
    pub(crate) keys: u32,
    pub(crate) cooling: u32,
    /// Configured requests and tokens per minute per key; 0 for no limit.
    pub(crate) rpm: u32,
    pub(crate) tpm: u32,
    /// Number of free slots with a retained lock.
    pub(crate) retained: u32,
    /// Cool-downs of responses that state no time.
    pub(crate) rate_limited_ms: u64,
    pub(crate) rate_limited_max_ms: u64,
    pub(crate) quota_exceeded_ms: u64,
    pub(crate) invalid_key_ms: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct WorkerRecord {
    pub(crate) generation: u64,
    pub(crate) pid: u32,
    /// Head of the worker's list of served waiters.
    pub(crate) mailbox: u32,
}

/// A key. The fields that most requests read or change come first, in the first [`CACHE_LINES`]
/// bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct KeyRecord {
    pub(crate) state: u32,
    pub(crate) pool: u32,
    pub(crate) slots: u32,
    pub(crate) in_use: u32,
    pub(crate) free_slot: u32,
    /// Number of leases that the key's health allows; 0 during a cool-down.
    pub(crate) cap: u32,
    pub(crate) born: u64,
    /// End of the cool-down; 0 when there is none.
    pub(crate) until_ms: u64,
    /// Number of leases granted so far.
    pub(crate) grants: u64,
    /// Number of leases with a request, and the sum of their estimated tokens; modulo 2^32.
    pub(crate) sent: u32,
    pub(crate) spent: u32,
    /// Consecutive failures.
    pub(crate) failures: u32,
    /// Number of leases allowed on probation; 0 in other states.
    pub(crate) probation: u32,
    /// Remaining limits as last stated by the provider.
    pub(crate) requests: Left,
    pub(crate) tokens: Left,
    pub(crate) cause: u32,
    /// Number of held slots that do not count against `probation`: leased before it, or held on
    /// other machines.
    pub(crate) left_out: u32,
    /// Attempts with the key by verdict, modulo 2^32.
    pub(crate) attempts: [u32; Verdict::ALL.len()],
    /// Status of the last unsuccessful response.
    pub(crate) last_error: u32,
    pub(crate) weight: u32,
    /// Position in the heap of cool-downs.
    pub(crate) cooling_at: u32,
    /// Cause of the cool-down that `cancelled_ms` is about.
    pub(crate) cancelled_cause: u32,
    /// First lease after the last response that caused a cool-down. Responses to earlier leases
    /// neither count as failures nor end a probation.
    pub(crate) cool_down_serial: u64,
    /// First lease of the last probation.
    pub(crate) probation_serial: u64,
    /// Levels of the buckets of the configured limits; see `buckets`.
    pub(crate) request_level: i64,
    pub(crate) token_level: i64,
    pub(crate) filled_ms: u64,
    /// First generation that does not contain the key; 0 if none.
    pub(crate) retired: u64,
    /// Hash of the key's configuration line.
    pub(crate) line: u64,
    /// End that a cool-down would have had that ended early, because the key's configuration line
    /// has changed or a probe has succeeded; 0 if there is none. Nodes and other machines may still
    /// report it.
    pub(crate) cancelled_ms: u64,
    pub(crate) fingerprint: [u8; 16],
    /// Generation that made the record. Unlike `born`, it stays when the key is left out for a while.
    pub(crate) made: u64,
    /// Hash of the id that names the key's locks on nodes; 0 if there are none.
    pub(crate) id: u64,
}

const _: () = assert!(size_of::<KeyRecord>() == 2 * CACHE_LINES);

impl KeyRecord {
    /// Remembers the current cool-down, which is about to end early.
    pub(crate) fn note_cancelled(&mut self) {
        self.cancelled_ms = self.until_ms;
        self.cancelled_cause = self.cause;
    }
}

/// The position of a key in the order of its pool. Kept apart from the key records, so that the
/// heaps access little memory.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct KeyRank {
    pub(crate) pass: u64,
    pub(crate) heap_at: u32,
    pub(crate) spare: u32,
}

/// What remains of one of the provider's limits.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Left {
    pub(crate) left: i64,
    /// The whole limit; 0 when unknown.
    pub(crate) full: i64,
    /// When the full limit is available again, on the monotonic clock; 0 when nothing is known.
    pub(crate) reset_ms: u64,
}

/// A slot. Fields that only locks need come last.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct SlotRecord {
    pub(crate) nonce: [u64; 2],
    pub(crate) fence: u64,
    pub(crate) granted_ms: u64,
    pub(crate) deadline_ms: u64,
    /// Number of the lease among the leases of its key, from 1; 0 for none.
    pub(crate) serial: u64,
    pub(crate) state: u16,
    /// Number of leases that have got the lock of an earlier lease.
    pub(crate) handed: u16,
    pub(crate) key: u32,
    pub(crate) ordinal: u32,
    /// The worker that holds the slot or retains its lock, [`super::service::SERVICE`], or [`NONE`]
    /// while the slot is held on another machine.
    pub(crate) owner: u32,
    pub(crate) next_free: u32,
    pub(crate) heap_at: u32,
    /// The key's `sent` and `spent` before the lease.
    pub(crate) sent: u32,
    pub(crate) spent: u32,
    /// Estimated tokens of the lease.
    pub(crate) tokens: u32,
    /// TTL that a renewal adds, in the configuration of the holder.
    pub(crate) ttl_ms: u32,
    /// Number of the client; see [`super::service::holder_of`].
    pub(crate) holder: u32,
    /// When the lock was taken, on the monotonic clock; low bits only.
    pub(crate) locked_ms: u32,
    /// End of the machine's lock on the slot; 0 without a lock.
    pub(crate) lock_deadline_ms: u64,
    pub(crate) lock_fence: u64,
    pub(crate) lock_nonce: [u64; 2],
}

const _: () = assert!(size_of::<SlotRecord>() == CACHE_LINES);

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct WaiterRecord {
    pub(crate) nonce: [u64; 2],
    pub(crate) arrival: u64,
    pub(crate) generation: u64,
    /// The worker's identifier of the request.
    pub(crate) tag: u64,
    pub(crate) ttl_ms: u32,
    pub(crate) holder: u32,
    pub(crate) state: u32,
    pub(crate) pool: u32,
    pub(crate) owner: u32,
    pub(crate) priority: i32,
    /// The granted slot.
    pub(crate) slot: u32,
    /// Next entry in the free list or in the worker's mailbox.
    pub(crate) next: u32,
    pub(crate) heap_at: u32,
    /// Estimated tokens of the request.
    pub(crate) tokens: u32,
    pub(crate) avoid: Avoid,
}

pub(crate) fn nonce_words(nonce: u128) -> [u64; 2] {
    [(nonce >> 64) as u64, nonce as u64]
}

pub(crate) fn nonce_of(words: [u64; 2]) -> u128 {
    (u128::from(words[0]) << 64) | u128::from(words[1])
}

//! The records of the zone, as they lie in shared memory.

use bytemuck::{Pod, Zeroable};
use openai_wire::Verdict;

use super::avoid::Avoid;

/// "No index": the end of a list, or "not in a heap".
pub(crate) const NONE: u32 = u32::MAX;

/// The longest name of a pool, in bytes.
pub const MAX_POOL_NAME: usize = 64;

/// How a pool chooses among the keys that have a free slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Balance {
    /// Each key in turn.
    #[default]
    RoundRobin = 0,
    /// In proportion to the keys' weights (stride scheduling).
    Weighted = 1,
    /// The key with the fewest leases for its weight.
    LeastBusy = 2,
    /// Any, evenly.
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
    pub(crate) const ACTIVE: u32 = 1;
    /// Left out of the newest configuration; older workers may still use it.
    pub(crate) const RETIRED: u32 = 2;
}

/// States of a slot.
pub(crate) mod slot_state {
    pub(crate) const UNUSED: u32 = 0;
    pub(crate) const FREE: u32 = 1;
    pub(crate) const HELD: u32 = 2;
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
pub(crate) struct Header {
    pub(crate) magic: u64,
    pub(crate) layout: u64,
    /// The newest generation: of the newest configuration, or of keys that its
    /// workers have read since.
    pub(crate) generation: u64,
    /// The first generation of the newest configuration.
    pub(crate) configured: u64,
    /// The highest fence ever granted.
    pub(crate) fence: u64,
    /// The arrival number of the next waiter.
    pub(crate) arrivals: u64,
    pub(crate) pools: u32,
    pub(crate) workers: u32,
    pub(crate) keys: u32,
    pub(crate) slots: u32,
    pub(crate) waiters: u32,
    pub(crate) free_slot: u32,
    pub(crate) free_waiter: u32,
    /// Held slots, ordered by deadline.
    pub(crate) deadlines: u32,
    /// Keys that are out, ordered by when they return.
    pub(crate) out: u32,
    pub(crate) spare: u32,
    /// When the zone was made, in microseconds of the wall clock; 0 until it is known.
    pub(crate) started_us: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Pool {
    pub(crate) name: [u8; MAX_POOL_NAME],
    pub(crate) born: u64,
    /// Virtual time of stride scheduling: the pass of the key granted last.
    pub(crate) pass: u64,
    pub(crate) state: u32,
    pub(crate) name_len: u32,
    pub(crate) balance: u32,
    pub(crate) queue: u32,
    /// Where its segment of the heap of available keys begins, and its length.
    pub(crate) available_at: u32,
    pub(crate) available: u32,
    /// Where its segment of the heap of waiters begins, its room and its length.
    pub(crate) waiting_at: u32,
    pub(crate) waiting_room: u32,
    pub(crate) waiting: u32,
    pub(crate) held: u32,
    pub(crate) slots: u32,
    /// Keys of the newest configuration, and how many of them are out.
    pub(crate) keys: u32,
    pub(crate) out: u32,
    /// Requests and tokens a minute that a key may have; 0 where nothing is stated.
    pub(crate) rpm: u32,
    pub(crate) tpm: u32,
    pub(crate) ramp: u32,
    /// The cool-downs of answers that state none.
    pub(crate) rate_ms: u64,
    pub(crate) rate_max_ms: u64,
    pub(crate) quota_ms: u64,
    pub(crate) revoked_ms: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Worker {
    pub(crate) generation: u64,
    pub(crate) pid: u32,
    /// Head of the list of served waiters that it has to collect.
    pub(crate) mailbox: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Key {
    pub(crate) fingerprint: [u8; 16],
    pub(crate) born: u64,
    /// The first generation that does not know it (when retired); 0 if none does.
    pub(crate) retired: u64,
    pub(crate) pass: u64,
    pub(crate) state: u32,
    pub(crate) pool: u32,
    pub(crate) weight: u32,
    pub(crate) slots: u32,
    pub(crate) in_use: u32,
    pub(crate) free_slot: u32,
    pub(crate) heap_at: u32,
    /// How many leases its health allows it now: none while it is out.
    pub(crate) cap: u32,
}

/// How a key does. Beside the keys, so that those stay small: their heaps walk
/// over them.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Health {
    /// Out until then; 0 when it is not out.
    pub(crate) until_ms: u64,
    /// Leases granted so far.
    pub(crate) grants: u64,
    /// The first lease after an answer last put it out: what later ones bring is news.
    pub(crate) since: u64,
    /// The first lease of its last trial.
    pub(crate) back: u64,
    /// What the provider last said to be left.
    pub(crate) requests: Left,
    pub(crate) tokens: Left,
    /// What is left of the limits that the configuration states; see `buckets`.
    pub(crate) request_level: i64,
    pub(crate) token_level: i64,
    pub(crate) filled_ms: u64,
    /// Of those leases, the ones with which a request was or will be sent, and the
    /// tokens that were estimated for them; modulo 2^32.
    pub(crate) sent: u32,
    pub(crate) spent: u32,
    pub(crate) cause: u32,
    /// How often in a row an answer has put it out.
    pub(crate) failures: u32,
    /// How many leases it may have on trial; 0 when it is on none.
    pub(crate) ramp: u32,
    /// Leases that the trial does not count.
    pub(crate) aside: u32,
    /// The status of the last answer that was not good.
    pub(crate) last_error: u32,
    pub(crate) heap_at: u32,
    /// What came of the requests that were sent with it, modulo 2^32.
    pub(crate) attempts: [u32; Verdict::ALL.len()],
    /// What the configuration says of it.
    pub(crate) line: u64,
    /// Until when it would be out if its line had not been changed: others may still say so.
    pub(crate) pardoned_ms: u64,
}

/// What is left of one of the provider's limits, as far as is known.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Left {
    pub(crate) left: i64,
    /// The whole limit; 0 when it is not known.
    pub(crate) full: i64,
    /// When it is whole again; 0 when nothing is known.
    pub(crate) reset_ms: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Slot {
    pub(crate) nonce: [u64; 2],
    pub(crate) fence: u64,
    pub(crate) granted_ms: u64,
    pub(crate) deadline_ms: u64,
    /// The lock that the machine has on it by quorum; none when the deadline is 0.
    pub(crate) lock_nonce: [u64; 2],
    pub(crate) lock_fence: u64,
    pub(crate) lock_deadline_ms: u64,
    /// What a renewal adds: the TTL that the holder's configuration knows.
    pub(crate) ttl_ms: u64,
    /// Which of the key's leases it is, from 1; 0 for none.
    pub(crate) serial: u64,
    /// Whom its lease is for: see [`super::service::holder_of`].
    pub(crate) holder: u64,
    pub(crate) state: u32,
    pub(crate) key: u32,
    pub(crate) ordinal: u32,
    /// The worker that holds it; [`super::service::SERVICE`], or [`NONE`] while it is
    /// held elsewhere.
    pub(crate) owner: u32,
    pub(crate) next_free: u32,
    pub(crate) heap_at: u32,
    /// How often the lock has been handed from lease to lease.
    pub(crate) handed: u32,
    /// The low bits of when the lock was taken, on the monotonic clock.
    pub(crate) locked_ms: u32,
    /// The key's `sent` and `spent` before the lease.
    pub(crate) sent: u32,
    pub(crate) spent: u32,
    /// The tokens that were estimated for the lease.
    pub(crate) tokens: u32,
    pub(crate) spare: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Waiter {
    pub(crate) nonce: [u64; 2],
    pub(crate) arrival: u64,
    pub(crate) generation: u64,
    /// The worker's own name for the request.
    pub(crate) tag: u64,
    pub(crate) ttl_ms: u64,
    pub(crate) holder: u64,
    pub(crate) state: u32,
    pub(crate) pool: u32,
    pub(crate) owner: u32,
    pub(crate) priority: i32,
    /// The slot it was served with.
    pub(crate) slot: u32,
    /// Next in the free list, or in its worker's mailbox.
    pub(crate) next: u32,
    pub(crate) heap_at: u32,
    /// The tokens that are estimated for the request.
    pub(crate) tokens: u32,
    pub(crate) avoid: Avoid,
}

pub(crate) fn nonce_words(nonce: u128) -> [u64; 2] {
    [(nonce >> 64) as u64, nonce as u64]
}

pub(crate) fn nonce_of(words: [u64; 2]) -> u128 {
    (u128::from(words[0]) << 64) | u128::from(words[1])
}

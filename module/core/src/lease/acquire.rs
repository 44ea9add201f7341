//! Granting leases.

use super::account::Account;
use super::lock::Lock;
use super::queue::Want;
use super::record::{Balance, NONE, nonce_words, presence, slot_state};
use super::release::LeaseHandle;
use super::time::Now;
use super::zone::Zone;

/// Stride of a key of weight 1 (stride scheduling). With 64 bits, a key can be granted 2^40 times
/// before its pass overflows.
const STRIDE: u64 = 1 << 24;

/// A granted lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Identifies the lease in calls that renew or release it.
    pub handle: LeaseHandle,
    /// The key's index in the zone; the worker maps it to the secret.
    pub key: u32,
    /// The slot's number within its key.
    pub ordinal: u32,
    /// Higher than every fence granted before in this zone.
    pub fence: u64,
    /// When the lease was granted, on the monotonic clock.
    pub granted_ms: u64,
    /// When the lease ends unless renewed, on the monotonic clock.
    pub deadline_ms: u64,
    /// The lock that came with the slot, if any: handed over by the last lease, or retained.
    pub lock: Option<Lock>,
    /// Fence of the last lock of this machine on the slot; 0 for none.
    pub last_fence: u64,
    /// Whether a successful response can change the key's state: the key has failed, or is on
    /// probation.
    pub can_recover: bool,
    /// Generation that made the key's record. A lost lease may outlive its key, whose index is then
    /// reused.
    pub(crate) key_made: u64,
    /// Position among the key's leases.
    pub(crate) account: Account,
}

/// The recipient of a lease.
pub(crate) struct Grantee {
    pub(crate) owner: u32,
    pub(crate) nonce: [u64; 2],
    pub(crate) ttl_ms: u32,
    pub(crate) tokens: u32,
    /// Number of the client, see [`super::service::holder_of`].
    pub(crate) holder: u32,
}

impl Zone<'_> {
    /// Grants a lease on a free slot, if there is one. Never waits.
    pub fn acquire(&mut self, want: &Want, now: Now) -> Option<Grant> {
        self.expire(now);
        let pool = self.pool_for(want)?;
        let key = loop {
            let key = self.choose(pool, want, now)?;
            if self.make_ready(key, want.generation, now) {
                break key;
            }
        };
        let to = Grantee {
            owner: want.worker.0,
            nonce: nonce_words(want.nonce),
            ttl_ms: want.short_ttl_ms(),
            tokens: want.tokens,
            holder: want.holder,
        };
        Some(self.grant(key, to, now))
    }

    /// Index of the requested pool; `None` if the pool is unused or newer than the worker's
    /// configuration.
    pub(crate) fn pool_for(&self, want: &Want) -> Option<usize> {
        let pool = want.pool.0 as usize;
        let record = self.pools.get(pool)?;
        (record.state != presence::UNUSED && record.born <= want.generation).then_some(pool)
    }

    /// Grants the first free slot of `key`, which must have one, with its retained lock if there is
    /// one; see [`Zone::make_ready`].
    pub(crate) fn grant(&mut self, key: usize, to: Grantee, now: Now) -> Grant {
        let slot = self.keys[key].free_slot;
        let pool = self.keys[key].pool as usize;
        let is_retained = self.slots[slot as usize].state == slot_state::RETAINED;
        self.keys[key].free_slot = self.slots[slot as usize].next_free;

        let record = &mut self.slots[slot as usize];
        let deadline_ms = if is_retained {
            record.handed += 1;
            // Within the block of this lock: the next lock has another block.
            record.fence = record.lock_fence + u64::from(record.handed);
            self.header.fence = self.header.fence.max(record.fence);
            record.lock_deadline_ms
        } else {
            record.fence = now.wall_us.max(self.header.fence + 1);
            self.header.fence = record.fence;
            now.mono_ms.saturating_add(to.ttl_ms.into())
        };
        record.nonce = to.nonce;
        record.granted_ms = now.mono_ms;
        record.ttl_ms = to.ttl_ms;
        record.owner = to.owner;
        record.holder = to.holder;
        record.next_free = NONE;
        record.state = slot_state::HELD;

        self.keys[key].in_use += 1;
        self.pools[pool].held += 1;
        self.charge(key, pool);
        if is_retained {
            self.pools[pool].retained = self.pools[pool].retained.saturating_sub(1);
            self.move_deadline(slot, deadline_ms);
        } else {
            self.slots[slot as usize].deadline_ms = deadline_ms;
            self.held_slots().push(slot);
        }
        self.rank(key);
        self.account(slot, to.tokens, now);
        self.granted(slot)
    }

    /// Advances the key's pass by one stride.
    fn charge(&mut self, key: usize, pool: usize) {
        let weighted = Balance::from_word(self.pools[pool].balance) == Balance::Weighted;
        let rank = &mut self.ranks[key];
        let pool = &mut self.pools[pool];
        // A key that was unavailable is not compensated for missed turns.
        pool.pass = pool.pass.max(rank.pass);
        rank.pass = pool.pass
            + if weighted {
                STRIDE / u64::from(self.keys[key].weight.max(1))
            } else {
                STRIDE
            };
    }

    /// The lease on a held slot.
    pub(crate) fn granted(&self, slot: u32) -> Grant {
        let record = &self.slots[slot as usize];
        let health = &self.keys[record.key as usize];
        Grant {
            handle: LeaseHandle {
                slot,
                nonce: record.nonce,
            },
            key: record.key,
            ordinal: record.ordinal,
            fence: record.fence,
            granted_ms: record.granted_ms,
            deadline_ms: record.deadline_ms,
            lock: Lock::of(record),
            last_fence: record.lock_fence,
            can_recover: health.failures | health.probation != 0,
            key_made: health.made,
            account: Account::of(record),
        }
    }
}

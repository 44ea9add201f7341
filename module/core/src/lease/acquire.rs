//! Granting a slot of a key.

use super::account::Account;
use super::lock::Lock;
use super::queue::Want;
use super::record::{Balance, NONE, nonce_words, presence, slot_state};
use super::release::LeaseHandle;
use super::time::Now;
use super::zone::Zone;

/// One turn of a key of weight 1 in stride scheduling. With 64 bits, a key can
/// be granted 2^40 times before its pass overflows.
const STRIDE: u64 = 1 << 24;

/// A lease that has been granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What renews and releases it.
    pub handle: LeaseHandle,
    /// The key's index in the zone; the worker knows the secret for it.
    pub key: u32,
    /// Which of the key's slots.
    pub ordinal: u32,
    /// Higher than every fence granted before it in this zone.
    pub fence: u64,
    /// When it was granted, on the monotonic clock.
    pub granted_ms: u64,
    /// When it ends unless renewed, on the monotonic clock.
    pub deadline_ms: u64,
    /// The lock that came with the slot, when it was handed over with one.
    pub lock: Option<Lock>,
    /// The fence of the last lock that this machine had on the slot; 0 for none.
    pub last_fence: u64,
    /// Its place among the key's leases.
    pub(crate) account: Account,
}

/// Who gets a slot.
pub(crate) struct Holder {
    pub(crate) owner: u32,
    pub(crate) nonce: [u64; 2],
    pub(crate) ttl_ms: u64,
    pub(crate) tokens: u32,
    /// Whom it is for.
    pub(crate) holder: u64,
}

impl Zone<'_> {
    /// Takes a lease on a free slot, if there is one; never waits.
    pub fn acquire(&mut self, want: &Want, now: Now) -> Option<Grant> {
        self.expire(now);
        let pool = self.pool_for(want)?;
        let key = self.choose(pool, want, now)?;
        let to = Holder {
            owner: want.worker.0,
            nonce: nonce_words(want.nonce),
            ttl_ms: want.ttl_ms,
            tokens: want.tokens,
            holder: want.holder,
        };
        Some(self.grant(key, to, now))
    }

    /// The pool that a worker of this generation means by its index.
    pub(crate) fn pool_for(&self, want: &Want) -> Option<usize> {
        let pool = want.pool.0 as usize;
        let record = self.pools.get(pool)?;
        (record.state != presence::UNUSED && record.born <= want.generation).then_some(pool)
    }

    /// Grants the first free slot of `key`, which must have one.
    pub(crate) fn grant(&mut self, key: usize, to: Holder, now: Now) -> Grant {
        let slot = self.keys[key].free_slot;
        let pool = self.keys[key].pool as usize;
        let fence = now.wall_us.max(self.header.fence + 1);
        self.header.fence = fence;
        self.keys[key].free_slot = self.slots[slot as usize].next_free;

        let record = &mut self.slots[slot as usize];
        record.nonce = to.nonce;
        record.fence = fence;
        record.granted_ms = now.mono_ms;
        record.deadline_ms = now.mono_ms.saturating_add(to.ttl_ms);
        record.ttl_ms = to.ttl_ms;
        record.owner = to.owner;
        record.holder = to.holder;
        record.next_free = NONE;
        record.state = slot_state::HELD;

        self.keys[key].in_use += 1;
        self.pools[pool].held += 1;
        self.charge(key, pool);
        self.held_slots().push(slot);
        self.rank(key);
        self.account(slot, to.tokens, now);
        self.granted(slot)
    }

    /// Moves the key behind the others of its pool by one turn.
    fn charge(&mut self, key: usize, pool: usize) {
        let weighted = Balance::from_word(self.pools[pool].balance) == Balance::Weighted;
        let key = &mut self.keys[key];
        let pool = &mut self.pools[pool];
        // A key that was away does not catch up on the turns it missed.
        pool.pass = pool.pass.max(key.pass);
        key.pass = pool.pass
            + if weighted {
                STRIDE / u64::from(key.weight.max(1))
            } else {
                STRIDE
            };
    }

    /// The lease that a held slot is under.
    pub(crate) fn granted(&self, slot: u32) -> Grant {
        let record = &self.slots[slot as usize];
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
            account: Account::of(record),
        }
    }
}

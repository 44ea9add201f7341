//! A lock, as its holder knows it.

use std::fmt;

use super::fence::Fence;
use super::slots::Slot;

/// Random number that proves who holds a lock. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(pub u128);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The lock of a slot, granted by a quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotLock {
    /// The slot.
    pub slot: Slot,
    /// Proves ownership.
    pub nonce: Nonce,
    /// Orders the locks of the slot.
    pub fence: Fence,
    /// End of the lock, on the holder's monotonic clock.
    pub deadline_ms: u64,
}

impl SlotLock {
    /// Whether the holder may still use the lock.
    #[must_use]
    pub fn is_valid(&self, now: u64) -> bool {
        now < self.deadline_ms
    }

    /// Moves the deadline forward; never back.
    pub fn extend(&mut self, deadline_ms: u64) {
        self.deadline_ms = self.deadline_ms.max(deadline_ms);
    }
}

//! What there is to do on the nodes for the locks of services.

use super::Head;
use crate::lease::acquire::Grant;
use crate::lease::lock::Lock;
use crate::lease::record::nonce_of;
use crate::lease::release::LeaseHandle;

/// What there is to do on the nodes.
#[derive(Debug, Default)]
pub struct Tending {
    /// Locks that are held: nodes that have forgotten them are told again.
    pub keep: Vec<(Grant, Lock)>,
    /// Locks that have ended, and that nodes may keep.
    pub give_back: Vec<Stray>,
    /// When the first of those that are held ends, on the monotonic clock.
    pub next_ms: Option<u64>,
}

/// A lock that has ended, as nodes may still know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The lease that it was of.
    pub handle: LeaseHandle,
    /// The key's index in the zone.
    pub key: u32,
    /// Which of the key's slots.
    pub ordinal: u32,
    /// The lock.
    pub lock: Lock,
}

impl Head {
    pub(super) fn stray(&self) -> Stray {
        Stray {
            handle: LeaseHandle {
                slot: self.slot,
                nonce: self.nonce,
            },
            key: self.key,
            ordinal: self.ordinal,
            lock: Lock::new(nonce_of(self.lock_nonce), self.lock_fence, self.asked_ms),
        }
    }
}

//! Maintenance of service locks on the nodes.

use super::ServiceRecord;
use crate::lease::acquire::Grant;
use crate::lease::lock::Lock;
use crate::lease::record::nonce_of;
use crate::lease::release::LeaseHandle;

/// Maintenance that is due on the nodes.
#[derive(Debug, Default)]
pub struct Tending {
    /// Held locks, to be renewed on all nodes.
    pub keep: Vec<(Grant, Lock)>,
    /// Ended locks that nodes may still have, to be released.
    pub give_back: Vec<Stray>,
    /// When the first held lock ends, on the monotonic clock.
    pub next_ms: Option<u64>,
}

/// An ended lock that nodes may still have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The lease.
    pub handle: LeaseHandle,
    /// The key's index in the zone.
    pub key: u32,
    /// The slot's number within its key.
    pub ordinal: u32,
    /// The lock.
    pub lock: Lock,
}

impl ServiceRecord {
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

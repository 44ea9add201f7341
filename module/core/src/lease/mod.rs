//! Exclusive leases on the slots of API keys, in a block of shared memory.
//!
//! The zone is plain old data: fixed tables of pools, keys, slots, waiters and
//! workers that point at one another by index, so that every process may map it
//! at its own address. Whoever holds the zone's mutex opens a [`Zone`] over the
//! bytes and calls it; nothing here blocks, allocates or reads a clock.
//!
//! What a record says of itself (this slot is held, by whom, until when) is the
//! truth; heaps, free lists and counters are derived from it. A process killed
//! while it held the mutex leaves at worst the derived part torn, and
//! [`Zone::recover`] makes it anew.
//!
//! A configuration has a *generation*. After a reload the workers of the old
//! configuration go on beside the new ones: each grants only keys that its own
//! configuration knows, while slots stay exclusive across all of them. Keys that
//! change without a reload make a generation, too.

mod account;
mod acquire;
mod alternatives;
mod avoid;
mod buckets;
mod change;
mod choose;
mod circuits;
mod health;
mod heap;
mod layout;
mod lock;
mod outlook;
mod policy;
mod queue;
mod rebuild;
mod reconcile;
mod record;
mod release;
mod service;
mod time;
mod worker;
mod zone;

pub use acquire::Grant;
pub use avoid::{Avoid, MAX_AVOIDED};
pub use change::{ChangeError, Changed};
pub use layout::{Capacity, LayoutError, MAX_CIRCUITS};
pub use lock::{Ended, HandOver, Lock};
pub use outlook::{KeyView, Outlook};
pub use policy::{Cause, KeyPolicy, Report, Turn};
pub use queue::{Cancelled, QueueFull, Served, WaitTicket, Want};
pub use reconcile::{Accepted, KeyConfig, PoolConfig, ReconcileError};
pub use record::{Balance, MAX_POOL_NAME};
pub use release::{LeaseHandle, Lost};
pub use service::{
    EntrustError, HeldBy, Holding, MAX_CONTEXT, MAX_NAME, MAX_REQUEST, ServiceLock, ServiceState,
    Stray, Tending, Terms, Waiting, holder_of,
};
pub use time::Now;
pub use worker::{WakeSet, WorkerId};
pub use zone::{PoolGauges, PoolId, Zone};

#[cfg(test)]
mod tests;

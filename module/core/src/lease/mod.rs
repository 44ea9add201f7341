//! Exclusive leases on the slots of API keys, in shared memory.
//!
//! The zone is plain old data: fixed tables of pools, keys, slots, waiters and workers that refer
//! to each other by index, so that each process can map it at a different address. The holder of
//! the zone's mutex opens a [`Zone`] over the bytes and calls its methods. They do not block or
//! read a clock. Granting and ending leases does not allocate.
//!
//! Slot records (held or free, by whom, until when) are authoritative. Heaps, free lists and
//! counters are derived from them. If a process dies while it holds the mutex, only the derived
//! part can be inconsistent; [`Zone::recover`] rebuilds it.
//!
//! A configuration has a *generation*. After a reload the workers of the old configuration keep
//! running beside the new ones. A worker is granted only keys of its own configuration, while slots
//! stay exclusive across all workers. Keys that change without a reload also create a generation.

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
mod probes;
mod queue;
mod rebuild;
mod reconcile;
mod record;
mod release;
mod retain;
mod service;
mod time;
mod worker;
mod zone;

pub use acquire::Grant;
pub use avoid::{Avoid, MAX_AVOIDED};
pub use change::{ChangeError, Changed, id_hash};
pub use layout::{Capacity, LayoutError, MAX_CIRCUITS};
pub use lock::{Ended, HandOver, Lock};
pub use outlook::{KeyState, KeyView, Outlook};
pub use policy::{AttemptReport, Cause, KeyChange, KeyPolicy};
pub use probes::Probed;
pub use queue::{Cancelled, QueueFull, Served, WaitTicket, Want};
pub use reconcile::{Accepted, KeyConfig, PoolConfig, ReconcileError};
pub use record::{Balance, MAX_POOL_NAME};
pub use release::{LeaseHandle, Lost};
pub use retain::{Reclaimed, Retain};
pub use service::{
    EntrustError, HeldBy, Holding, MAX_CONTEXT, MAX_NAME, MAX_REQUEST, ServiceLock, ServiceState,
    Stray, Tending, Terms, Waiting, holder_of,
};
pub use time::Now;
pub use worker::{WakeSet, WorkerId};
pub use zone::{PoolGauges, PoolId, Zone};

#[cfg(test)]
mod tests;

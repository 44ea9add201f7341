//! Leases of this worker: its part of the shared zone, what it renews, who waits, and the
//! locks on nodes.

mod asking;
pub mod circuits;
pub mod key_files;
mod leases;
pub mod locks;
mod news;
mod nodes;
pub mod probes;
mod views;
mod waiters;
mod zone;

pub use asking::{Ask, Asked, ask, outlook};
pub use leases::{Lease, entrust, keep, lease_id, reclaim, release, renew};
pub use news::{News, on_news};
pub use views::{gauges, listing, standing};
pub use waiters::{leave, watch_expiry};
pub use zone::{change, change_keys, enter, in_zone, leave_zone, newer_keys, random, request_id};

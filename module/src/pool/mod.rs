//! This worker's leases: its part of the shared zone, renewals, waiters, and the locks on nodes.

mod asking;
pub mod circuits;
pub mod key_files;
mod keys;
mod leases;
pub mod locks;
mod messages;
mod node_connection;
mod nodes;
pub mod notes;
pub mod probes;
mod taken_over;
mod views;
mod waiters;
mod zone;

pub use asking::{Ask, Asked, ask, outlook};
pub use leases::{Lease, entrust, keep, reclaim, release, renew, unused};
pub use messages::{Message, on_message};
pub use taken_over::{
    KnownPool, TakenOver, key, key_count, key_ids_of, set_taken_over, taken_over,
};
pub use views::{PoolStanding, Standing, gauges, standing};
pub use waiters::{leave, watch_expiry};
pub use zone::{
    change, change_keys, enter, forget_keys, in_zone, leave_zone, newer_keys, random, request_id,
};

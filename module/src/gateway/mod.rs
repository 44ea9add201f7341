//! The way of a request: who asks, for which key, and when that ends.

pub mod access;
mod context;
pub mod events;
mod head;
mod judge;
pub mod lease;
mod log;
mod release;
pub mod route;
pub mod stream;
pub mod trace;

pub use access::Access;
pub use context::{Context, Lease, LeaseStatus, Reply, Stage};
pub use events::lease_lost;
pub use judge::{answer_begun, attempt_failed, attempt_over};
pub use lease::{Precontent, ask_again, asks_again, fall_back, locked, served, unavailable};
pub use log::{CLIENT_LEFT, Log, add, client};
pub use release::ended;
pub use stream::broken::answer_broken;
pub use stream::lost::lost;
pub use stream::usage;

//! The request phases: who asks, for which key, and when that ends.

mod access;
pub mod api;
mod body;
mod broken;
pub mod drain;
mod events;
mod failover;
mod lost;
mod precontent;
mod release;
pub mod target;

pub use access::Access;
pub use broken::answer_broken;
pub use events::lease_lost;
pub use failover::{answer_begun, attempt_failed, attempt_over};
pub use lost::lost;
pub use precontent::{Precontent, ask_again, asks_again, fall_back, locked, served, unavailable};
pub use release::{Log, ended};

//! Events and metrics.

mod clock;
mod event;
pub mod metrics;
pub mod sharing;
pub mod snapshot;

pub use clock::now;
pub use event::{event, is_logged, wall_time};

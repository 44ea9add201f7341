//! Groups over tokio and real redis-servers.
//!
//! A plain `cargo test` ignores these tests, because they need `redis-server`. `make test-redis`
//! installs it and runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod faults;
mod locks;
mod queue;
mod server;
mod transport;
mod worker;

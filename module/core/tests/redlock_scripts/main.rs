//! The scripts on a real redis-server, compared with the model of the simulation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bed;
mod clients;
mod cool_downs;
mod differential;
mod faults;
#[path = "../shared_stats/memory.rs"]
mod memory;
#[path = "../redlock_model/store.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses all of it")]
mod model;
#[path = "../redlock_model/rng.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses all of it")]
mod rng;
mod server;
mod share;

//! The scripts on a real redis-server, beside the model that the simulation runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bed;
mod clients;
mod differential;
mod faults;
#[path = "../shared_totals/memory.rs"]
mod memory;
#[path = "../redlock_sim/model.rs"]
mod model;
mod outages;
#[path = "../redlock_sim/rng.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses all of it")]
mod rng;
mod server;
mod share;

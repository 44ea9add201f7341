//! The decisions of the nginx module: leases, key pools, clients, routes, circuits, metrics.
//!
//! It uses no nginx, clock or socket: times and random numbers are passed in, so that everything
//! can be tested on its own.
#![forbid(unsafe_code)]

pub mod admin;
pub mod attempts;
pub mod circuit;
pub mod clients;
mod digits;
pub mod echo;
pub mod events;
pub mod keys;
pub mod lease;
pub mod metrics;
pub mod prices;
pub mod redlock;
pub mod routes;
pub mod trace;
pub mod view;
mod window;

pub use digits::digits;

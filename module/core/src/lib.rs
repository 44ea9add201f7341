//! What the nginx module decides: leases, key pools, request heads, error bodies, totals.
//!
//! No nginx, no clock, no socket: time and randomness are passed in, so that
//! everything here can be tested alone.
#![forbid(unsafe_code)]

pub mod admin;
pub mod attempts;
pub mod circuit;
pub mod clients;
pub mod echo;
pub mod events;
pub mod keys;
pub mod lease;
pub mod metrics;
pub mod prices;
pub mod redlock;
pub mod routes;
pub mod trace;
mod window;

//! What clients rely on, as tables of cases: paths, bodies, statuses, headers, metrics, log fields and
//! environment variables, each on every configuration that is served to somebody: that of `make run`,
//! that of production, and the container's.
//!
//! A case here is a promise. When one fails, the gateway is wrong, or everybody who relies on it must be
//! informed: a case is not made weaker so that it passes. How it comes about is not tested here: see the
//! target `e2e`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[macro_use]
mod bed;
mod case;
mod shape;

mod environment;
mod errors;
mod headers;
mod lock_service;
mod logs;
mod metrics;
mod mock;
mod places;
mod proxied;
mod reports;
mod tokens;

//! The documentation and the code name the same things.
//!
//! The names of directives, variables, events, metrics, error codes, paths and environment variables are
//! read from the sources, and compared with `docs/reference` in both directions. Links between Markdown
//! files lead somewhere. Examples verify the upstream's certificate.
//! Alert rules and the dashboard use metrics that exist.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod code;
mod examples;
mod links;
mod observability;
mod pages;
mod reference;

//! Programs that others wrote, from registries of other languages: OpenAI's clients (PyPI, npm),
//! Schemathesis (PyPI), and the pages for people in Chromium.
//!
//! They are a target of their own so that all other tests need the registry of Rust crates only.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[macro_use]
#[path = "../conformance/bed.rs"]
#[allow(dead_code, reason = "the target `conformance` uses all of it")]
mod bed;
#[path = "../e2e/failover/keys.rs"]
#[allow(dead_code, reason = "the target `e2e` uses all of it")]
mod keys;
#[path = "../e2e/lock_service/bed.rs"]
#[allow(dead_code, reason = "the target `e2e` uses all of it")]
mod locks;

mod docs_page;
mod examples;
mod mock;
mod python;
mod schemathesis;
mod shipped;
mod status_page;

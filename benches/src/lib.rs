//! What the benches measure with: bodies that clients send.

pub mod bodies;

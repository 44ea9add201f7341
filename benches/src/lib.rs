//! Data for the benchmarks: request bodies.

pub mod bodies;

//! The circuit breaker of an upstream.
//!
//! *Closed*: requests go, and their outcomes are counted over a sliding window. When
//! the share of faulty ones reaches a bound, or so many requests in a row were faulty,
//! it *opens*: nothing goes for a time.
//! Then it is *half-open*: a few requests at once go as probes; so many successes
//! close it, one failure opens it again, for longer.
//!
//! The record is plain old data, to lie in the zone: all workers share it. Whatever its
//! bytes say, a circuit lets a request through again within the longest time that its
//! settings allow.

mod breaker;
mod record;
mod settings;

pub use crate::window::Counts;
pub use breaker::{Admit, Change, Outcome, Pass, Phase, Status};
pub use record::{Circuit, CircuitId};
pub use settings::{CircuitSettings, Share};

#[cfg(test)]
mod tests;

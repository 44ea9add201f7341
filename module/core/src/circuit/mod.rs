//! The circuit breaker of an upstream.
//!
//! While *closed*, all requests are permitted and their results are counted in a sliding window.
//! The circuit *opens* when the share of failures or the number of consecutive failures reaches a
//! limit. No request is permitted while it is open. Then it is *half-open*: a few concurrent
//! requests are permitted as probes. A number of successes closes the circuit; one failure opens
//! it again, for longer.
//!
//! The record is plain old data in the shared zone, used by all workers. Whatever its bytes
//! contain, a circuit permits a request again within the longest open time of its settings or a
//! minute, whichever is longer.

mod breaker;
mod record;
mod settings;

pub use crate::window::Counts;
pub use breaker::{Admission, CircuitChange, CircuitOutcome, CircuitState, CircuitView, Permit};
pub use record::{Circuit, CircuitId};
pub use settings::{CircuitSettings, Share};

#[cfg(test)]
mod tests;

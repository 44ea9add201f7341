//! Redlock over nginx's event loop: connections to independent Redis masters, and
//! the state machines of core that run over them.
//!
//! No thread and no runtime: replies arrive as events of nginx, and every call
//! returns what has come of it for the caller to act on.

mod call;
mod commands;
mod group;
mod link;
mod node;

pub use commands::SlotCommands;
pub use group::{Attempt, AttemptKey, GiveBack, Group, Kept, Outcome, Setup, TIMEOUT, WAKE};
pub use node::{NodeReport, NodeTarget};

/// The monotonic clock, read now: locks must not be believed valid for longer
/// than the clock that was looked at last says.
pub fn clock() -> u64 {
    nginx_safe::monotonic_ms()
}

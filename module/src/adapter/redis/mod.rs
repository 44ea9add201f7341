//! Groups of Redis nodes over nginx's event loop.
//!
//! No thread and no runtime: replies arrive as events of nginx, and every call
//! returns what has come of it for the caller to act on.

mod transport;

pub use redis_nodes::{
    Attempt, AttemptKey, GiveBack, GroupTimer, Kept, NodeReport, Outcome, SlotCommands,
};
pub use transport::{Call, NginxTransport, NodeAddress};

/// A group of nodes on nginx's event loop.
pub type Group = redis_nodes::Group<NginxTransport>;
/// How a group is made.
pub type Setup = redis_nodes::Setup<NodeAddress>;
/// The address of a node, and how to log in there.
pub type NodeTarget = redis_nodes::NodeTarget<NodeAddress>;

/// The monotonic clock, read now: locks must not be believed valid for longer
/// than the clock that was looked at last says.
pub fn clock() -> u64 {
    nginx_safe::monotonic_ms()
}

//! The reported state of a node.

use openai_core::redlock::ErrorKind;

/// A report of a node, for a pool.
pub struct NodeReport<'a> {
    /// Its name in logs.
    pub name: &'a str,
    /// Whether the node is asked for votes, or why not.
    pub state: NodeState,
    /// The error with which the node rejects commands, if it does.
    pub refuses: Option<ErrorKind>,
    /// The average round trip in microseconds.
    pub round_trip_us: Option<u64>,
    /// The counters of the node.
    pub counts: NodeCounts,
}

/// The state of a node, for a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It is connected and asked for votes.
    Up,
    /// It has not answered in time at least twice in succession.
    Suspect,
    /// It answers commands with errors.
    Failing,
    /// It lost its data recently, and grants no locks yet.
    Quarantined,
    /// It is not connected, or its guard has not been read yet.
    Down,
}

impl NodeState {
    /// The name of the state, for variables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Failing => "failing",
            Self::Quarantined => "quarantined",
            Self::Down => "down",
        }
    }
}

/// Counters of a node since the worker started.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeCounts {
    /// Proposals granted.
    pub granted: u64,
    /// Proposals refused.
    pub refused: u64,
    /// Proposals answered with an error or an invalid reply.
    pub failed: u64,
    /// Replies that did not arrive in time.
    pub timeouts: u64,
}

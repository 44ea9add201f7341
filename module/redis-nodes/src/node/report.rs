//! The state of a node, as it is reported.

use openai_core::redlock::ErrorKind;

/// What is known of a node.
pub struct NodeReport<'a> {
    /// Its name in logs.
    pub name: &'a str,
    /// Its state.
    pub state: NodeState,
    /// By which error it refuses what it is asked, if it does.
    pub refuses: Option<ErrorKind>,
    /// Smoothed, in microseconds.
    pub round_trip_us: Option<u64>,
    /// What it has done.
    pub counts: NodeCounts,
}

/// The state of a node, for a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It is asked for votes.
    Up,
    /// It did not answer in time, more than once.
    Suspect,
    /// It answers with errors.
    Failing,
    /// It lost its memory not long ago, and grants no locks yet.
    Quarantined,
    /// There is no connection.
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

/// What a node has done since the worker began.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeCounts {
    /// Proposals that it granted.
    pub granted: u64,
    /// Proposals that it refused.
    pub refused: u64,
    /// Proposals that it answered with an error, or with nonsense.
    pub failed: u64,
    /// Answers that did not come in time.
    pub timeouts: u64,
}

//! What there is to tell of a node.

use openai_core::redlock::ErrorKind;

/// What is known of a node, for variables.
pub struct NodeReport<'a> {
    pub name: &'a str,
    pub state: NodeState,
    /// By which error it refuses what it is asked, if it does.
    pub refuses: Option<ErrorKind>,
    /// Smoothed, in microseconds.
    pub round_trip_us: Option<u64>,
    pub counts: NodeCounts,
}

/// How a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    Up,
    /// It did not answer in time, more than once.
    Suspect,
    /// It answers by errors.
    Failing,
    /// It came back without its memory not long ago.
    Quarantined,
    Down,
}

impl NodeState {
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

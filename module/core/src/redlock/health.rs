//! Health of one node: whether attempts wait for it.

/// When a node becomes suspect, and how often it is probed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuspectPolicy {
    /// Number of consecutive timeouts that make a node suspect.
    pub suspect_after: u32,
    /// Delay of the first probe, in milliseconds.
    pub probe_min_ms: u64,
    /// Longest interval between probes, in milliseconds. The interval doubles with each failed
    /// probe.
    pub probe_max_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeState {
    Up {
        timeouts: u32,
    },
    Suspect {
        probe_at: u64,
        interval: u64,
        probing: bool,
    },
}

/// Health of a node. A suspect node is neither asked nor waited for, but it counts in the number of
/// configured nodes.
#[derive(Clone, Copy, Debug)]
pub struct NodeHealth {
    policy: SuspectPolicy,
    state: NodeState,
}

impl NodeHealth {
    /// A node that is not suspect.
    #[must_use]
    pub fn new(policy: SuspectPolicy) -> Self {
        Self {
            policy,
            state: NodeState::Up { timeouts: 0 },
        }
    }

    /// Whether the node is suspect.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        matches!(self.state, NodeState::Suspect { .. })
    }

    /// Records that the node answered in time, possibly with an error. Do not call it for answers
    /// after the timeout: otherwise every attempt would wait for a slow node.
    pub fn answered(&mut self) {
        self.state = NodeState::Up { timeouts: 0 };
    }

    /// Records that the node did not answer in time, or that there is no connection. `random`
    /// spreads the probes of many clients over a quarter of the interval.
    pub fn timed_out(&mut self, now: u64, random: u64) {
        let interval = match self.state {
            NodeState::Up { timeouts }
                if timeouts.saturating_add(1) < self.policy.suspect_after =>
            {
                let timeouts = timeouts + 1;
                self.state = NodeState::Up { timeouts };
                return;
            }
            NodeState::Up { .. } => self.policy.probe_min_ms,
            // The command was sent before the node became suspect.
            NodeState::Suspect { probing: false, .. } => return,
            NodeState::Suspect { interval, .. } => interval.saturating_mul(2),
        };
        let interval = interval.min(self.policy.probe_max_ms).max(1);
        let spread = random % (interval / 4 + 1);
        self.state = NodeState::Suspect {
            probe_at: now.saturating_add(interval).saturating_add(spread),
            interval,
            probing: false,
        };
    }

    /// Whether to send a `PING` now. Its result must be reported to this value.
    #[must_use]
    pub fn probe(&mut self, now: u64) -> bool {
        match &mut self.state {
            NodeState::Suspect {
                probe_at, probing, ..
            } if !*probing && *probe_at <= now => {
                *probing = true;
                true
            }
            _ => false,
        }
    }
}

//! The circuit of one node: whether attempts wait for it.

/// When a node is suspected, and how often it is probed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitPolicy {
    /// So many timeouts in a row make it suspect.
    pub suspect_after: u32,
    /// Until the first probe.
    pub probe_min_ms: u64,
    /// The longest time between probes, which doubles from probe to probe.
    pub probe_max_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Circuit {
    Up {
        timeouts: u32,
    },
    Suspect {
        probe_at: u64,
        interval: u64,
        probing: bool,
    },
}

/// What is known of a node's health. A suspect node is not asked and not waited
/// for, but still counts in N.
#[derive(Clone, Copy, Debug)]
pub struct NodeHealth {
    policy: CircuitPolicy,
    circuit: Circuit,
}

impl NodeHealth {
    /// A node of which nothing is known yet: it is asked.
    #[must_use]
    pub fn new(policy: CircuitPolicy) -> Self {
        Self {
            policy,
            circuit: Circuit::Up { timeouts: 0 },
        }
    }

    /// Whether it is suspect.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        matches!(self.circuit, Circuit::Suspect { .. })
    }

    /// It answered in time, also an error. An answer that comes after its timeout
    /// is none: a slow node would be waited for again and again.
    pub fn answered(&mut self) {
        self.circuit = Circuit::Up { timeouts: 0 };
    }

    /// It did not answer in time, or its connection broke, or could not be made.
    /// `random` spreads the probes of many clients over a quarter of the interval.
    pub fn timed_out(&mut self, now: u64, random: u64) {
        let interval = match self.circuit {
            Circuit::Up { timeouts } if timeouts.saturating_add(1) < self.policy.suspect_after => {
                let timeouts = timeouts + 1;
                self.circuit = Circuit::Up { timeouts };
                return;
            }
            Circuit::Up { .. } => self.policy.probe_min_ms,
            // What was under way when it became suspect tells nothing new.
            Circuit::Suspect { probing: false, .. } => return,
            Circuit::Suspect { interval, .. } => interval.saturating_mul(2),
        };
        let interval = interval.min(self.policy.probe_max_ms).max(1);
        let spread = random % (interval / 4 + 1);
        self.circuit = Circuit::Suspect {
            probe_at: now.saturating_add(interval).saturating_add(spread),
            interval,
            probing: false,
        };
    }

    /// When to ask [`NodeHealth::probe`] next.
    #[must_use]
    pub fn next_probe(&self) -> Option<u64> {
        match self.circuit {
            Circuit::Suspect {
                probe_at,
                probing: false,
                ..
            } => Some(probe_at),
            _ => None,
        }
    }

    /// Whether to send a `PING` now. Its end, good or bad, must be told.
    #[must_use]
    pub fn probe(&mut self, now: u64) -> bool {
        match &mut self.circuit {
            Circuit::Suspect {
                probe_at, probing, ..
            } if !*probing && *probe_at <= now => {
                *probing = true;
                true
            }
            _ => false,
        }
    }
}

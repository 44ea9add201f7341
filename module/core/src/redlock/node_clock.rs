//! Detection of nodes whose wall clock was set forward.
//!
//! Redis expires keys by its wall clock. If that is set forward, the node loses locks before their
//! time, and grants their slots again. A step is detected by comparing the node's time with the
//! monotonic clock of this machine. The time is part of each vote, so that a vote after the step
//! does not count.

use super::timing::Drift;

/// Expiry of an open guard, in milliseconds since 1970: the year 2286. It is the same on all nodes,
/// so that `PTTL` of the guard shows the node's time at no additional command.
pub const GUARD_EXPIRY_MS: u64 = 9_999_999_999_999;

/// Share of the allowance for drift up to which a step is not reported. A lock is safe although the
/// nodes' clocks step by less than the allowance, and a short pause of this machine looks like a
/// step of all nodes.
const TOLERATED: u64 = 4;
/// Steps that are not larger are never reported, in milliseconds.
const MIN_TOLERANCE_MS: u64 = 10;

/// Time of a node, given the reply to `PTTL` of an open guard.
#[must_use]
pub fn node_time(guard_ttl_ms: i64) -> Option<u64> {
    let ttl = u64::try_from(guard_ttl_ms).ok().filter(|&ttl| ttl > 0)?;
    GUARD_EXPIRY_MS.checked_sub(ttl)
}

/// The clock of a node as seen by one client.
///
/// A reading limits the difference between the node's time and the client's clock: the node read
/// its clock after the command was sent, and before the reply was received.
#[derive(Clone, Debug)]
pub struct NodeClock {
    drift_ppm: u32,
    tolerance_us: i128,
    last: Option<Reading>,
}

/// Limits of the difference, in microseconds, and when the command was sent.
#[derive(Clone, Copy, Debug)]
struct Reading {
    least: i128,
    most: i128,
    at_us: u64,
}

impl NodeClock {
    /// A clock that has not been read. `drift` is the allowance for clocks that run at different
    /// speeds, and `ttl_ms` the shortest TTL of a lock.
    #[must_use]
    pub fn new(drift: Drift, ttl_ms: u64) -> Self {
        let tolerance_ms = (drift.of(ttl_ms) / TOLERATED).max(MIN_TOLERANCE_MS);
        Self {
            drift_ppm: drift.ppm,
            tolerance_us: i128::from(tolerance_ms) * 1_000,
            last: None,
        }
    }

    /// Records a reading: the node's time in milliseconds, and when the command was sent and the
    /// reply received. Returns by how many milliseconds at least the clock was set forward since
    /// the last reading, if it was.
    pub fn read(&mut self, node_ms: u64, sent_us: u64, received_us: u64) -> Option<u64> {
        let node_us = i128::from(node_ms) * 1_000;
        let mut now = Reading {
            least: node_us - i128::from(received_us),
            // The node's time is rounded down to a millisecond.
            most: node_us + 1_000 - i128::from(sent_us),
            at_us: sent_us,
        };
        let mut step = None;
        if let Some(last) = self.last {
            let passed = i128::from(received_us.saturating_sub(last.at_us));
            let drift = passed * i128::from(self.drift_ppm) / 1_000_000;
            let (least, most) = (last.least - drift, last.most + drift);
            if now.least > most + self.tolerance_us {
                step = u64::try_from((now.least - most) / 1_000).ok();
            } else if now.least <= most && now.most >= least {
                // Both readings are valid, so the closer limits are.
                now.least = now.least.max(least);
                now.most = now.most.min(most);
            }
        }
        self.last = Some(now);
        step
    }
}

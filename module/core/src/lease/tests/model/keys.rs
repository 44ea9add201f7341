//! The model of a key and its health.

use super::steps::Answer;
use crate::lease::Cause;

/// The first cool-down of a key that is invalid.
pub(super) const INVALID_KEY_MS: u64 = 700;

#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) born: u64,
    pub(super) retired: u64,
    pub(super) slots: u32,
    pub(super) health: Health,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    pub(super) cooling: Option<(Cause, u64)>,
    pub(super) failures: u32,
    /// Maximum number of leases on probation.
    pub(super) probation: Option<u32>,
    pub(super) granted: u64,
    /// The last lease before the cool-down, and before the probation.
    pub(super) before_cool_down: u64,
    pub(super) before_probation: u64,
}

impl Health {
    fn cool_down(&mut self, cause: Cause, until: u64) {
        self.before_cool_down = self.granted;
        let (worse, later) = self.cooling.unwrap_or((cause, until));
        self.cooling = Some((worse.max(cause), later.max(until)));
    }
}

impl Key {
    pub(super) fn new(born: u64, slots: u32) -> Self {
        Self {
            born,
            retired: u64::MAX,
            slots,
            health: Health::default(),
        }
    }

    /// Applies the response to a request under the lease with this number.
    pub(super) fn hears(&mut self, serial: u64, answer: Answer, now: u64) {
        let health = &mut self.health;
        let news = serial > health.before_cool_down;
        if news && matches!(answer, Answer::InvalidKey | Answer::RateLimited(_)) {
            health.failures += 1;
        }
        match answer {
            Answer::UpstreamError => {}
            Answer::RateLimited(ms) => health.cool_down(Cause::RateLimited, now + ms),
            Answer::InvalidKey => {
                let known = health
                    .cooling
                    .is_some_and(|(cause, _)| cause == Cause::InvalidKey);
                if news || !known {
                    let doubled = INVALID_KEY_MS << (health.failures.max(1) - 1);
                    health.cool_down(Cause::InvalidKey, now + doubled.min(3_600_000));
                }
            }
            Answer::Ok if news => {
                health.failures = 0;
                if serial > health.before_probation {
                    health.probation = health.probation.map(|n| 2 * n).filter(|&n| n < self.slots);
                }
            }
            Answer::Ok => {}
        }
    }

    /// Number of leases allowed, if `before` of them were granted before the probation.
    pub(super) fn cap(&self, before: u32) -> u32 {
        match (self.health.cooling, self.health.probation) {
            (Some(_), _) => 0,
            (None, None) => self.slots,
            (None, Some(probation)) => self.slots.min(probation + before),
        }
    }
}

impl Health {
    /// Ends the cool-down if its time has come.
    pub(super) fn end_cool_down(&mut self, now: u64) {
        if self.cooling.is_some_and(|(_, until)| until <= now) {
            self.cooling = None;
            self.probation = Some(1);
            self.before_probation = self.granted;
        }
    }
}

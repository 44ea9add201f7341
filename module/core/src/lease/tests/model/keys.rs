//! The model of a key, and of its health.

use super::steps::Answer;
use crate::lease::Cause;

/// The first cool-down of a key that was revoked.
pub(super) const REVOKED: u64 = 700;

#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) born: u64,
    pub(super) retired: u64,
    pub(super) slots: u32,
    pub(super) health: Health,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    pub(super) out: Option<(Cause, u64)>,
    pub(super) failures: u32,
    /// How many leases it may have on trial.
    pub(super) trial: Option<u32>,
    pub(super) granted: u64,
    /// The last lease before it went out, and before it came back.
    pub(super) before_out: u64,
    pub(super) before_trial: u64,
}

impl Health {
    fn go_out(&mut self, cause: Cause, until: u64) {
        self.before_out = self.granted;
        let (worse, later) = self.out.unwrap_or((cause, until));
        self.out = Some((worse.max(cause), later.max(until)));
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

    /// An answer to a request under its lease of this number.
    pub(super) fn hears(&mut self, serial: u64, answer: Answer, now: u64) {
        let health = &mut self.health;
        let news = serial > health.before_out;
        if news && matches!(answer, Answer::Revoked | Answer::Limited(_)) {
            health.failures += 1;
        }
        match answer {
            Answer::Faulty => {}
            Answer::Limited(ms) => health.go_out(Cause::Rate, now + ms),
            Answer::Revoked => {
                let known = health.out.is_some_and(|(cause, _)| cause == Cause::Revoked);
                if news || !known {
                    let doubled = REVOKED << (health.failures.max(1) - 1);
                    health.go_out(Cause::Revoked, now + doubled.min(3_600_000));
                }
            }
            Answer::Sound if news => {
                health.failures = 0;
                if serial > health.before_trial {
                    health.trial = health.trial.map(|n| 2 * n).filter(|&n| n < self.slots);
                }
            }
            Answer::Sound => {}
        }
    }

    /// How many leases it may have, if so many of it were granted before its trial.
    pub(super) fn cap(&self, before: u32) -> u32 {
        match (self.health.out, self.health.trial) {
            (Some(_), _) => 0,
            (None, None) => self.slots,
            (None, Some(trial)) => self.slots.min(trial + before),
        }
    }
}

impl Health {
    /// Its cool-down is over, if it is.
    pub(super) fn come_back(&mut self, now: u64) {
        if self.out.is_some_and(|(_, until)| until <= now) {
            self.out = None;
            self.trial = Some(1);
            self.before_trial = self.granted;
        }
    }
}

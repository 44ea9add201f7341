//! The attempts of a request so far.

use super::{Failure, TargetSet, UpstreamErrors};
use crate::lease::Avoid;

/// The attempts of a request so far, and their failures.
#[derive(Debug, Default)]
pub struct Retries {
    /// Number of times the request has been sent.
    pub attempts: u32,
    /// Number of attempts that do not count, because the upstream had closed a kept connection, or
    /// because the key is invalid or out of quota.
    pub uncounted: u32,
    /// When the first lease was asked for, in milliseconds.
    pub first_asked_ms: u64,
    /// The keys that have failed.
    pub avoid: Avoid,
    /// Targets that are chosen last, because their upstream has failed this request or its circuit
    /// was open.
    pub failed: TargetSet,
    /// Targets that are not chosen again, because their upstream has failed too often in the same
    /// way.
    pub spent: TargetSet,
    /// The errors of each upstream.
    pub errors: UpstreamErrors,
    /// Position in the queue within its priority, once the request has waited.
    pub arrival: Option<u64>,
    /// Number of rounds in which the nodes were asked for a lock.
    pub rounds: u32,
}

impl Retries {
    /// Whether no other attempt may begin: the attempts that count have reached `tries`, or
    /// `timeout_ms` have passed since the first lease was asked for.
    #[must_use]
    pub fn are_used_up(&self, tries: u32, timeout_ms: u64, now_ms: u64) -> bool {
        self.attempts.saturating_sub(self.uncounted) >= tries
            || now_ms.saturating_sub(self.first_asked_ms) >= timeout_ms
    }

    /// Notes that an attempt with this key has failed. `same` are the targets with its upstream,
    /// `upstream` is the position of the first of them.
    pub fn note(&mut self, failure: &Failure, key: u32, (same, upstream): (TargetSet, usize)) {
        if !failure.counts() {
            self.uncounted += 1;
        }
        if !failure.excludes_key() {
            self.avoid.push(key);
        }
        if failure.is_upstream_error() {
            self.failed.add_all(same);
            if self.errors.note(upstream, failure.fault) {
                self.spent.add_all(same);
            }
        }
    }
}

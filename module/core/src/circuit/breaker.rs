//! The circuit breaker's state machine: which requests it permits, and how results change its
//! state.

use openai_wire::Verdict;

use super::record::{Circuit, CircuitId};
use super::settings::Share;
use crate::window::Counts;

/// A probe without a result after this time is given up: its worker has died.
const PROBE_LOST_MS: u64 = 60_000;
/// Length of the window of recent results.
const RECENT_MS: u32 = 60_000;
/// Retry interval while all permitted probes are under way.
const PROBE_WAIT_MS: u64 = 1_000;

/// Circuit-breaker permit to send one request. Its result must be reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The circuit that gave the permit.
    pub circuit: CircuitId,
    round: u32,
    /// Whether the request is a probe of a failed upstream.
    pub probe: bool,
}

impl Permit {
    /// A permit for an upstream that no longer has a circuit.
    pub(crate) fn stray(circuit: CircuitId) -> Self {
        Self {
            circuit,
            round: 0,
            probe: false,
        }
    }
}

/// The circuit's answer to a request for a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The request may be sent.
    Permitted(Permit),
    /// No request may be sent before that time on the monotonic clock. The circuit may still be
    /// open then.
    Open {
        /// The time.
        until_ms: u64,
    },
}

/// Result of a permitted request, as the circuit counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitOutcome {
    /// The upstream responded, possibly with an error caused by the client or the key.
    Success,
    /// Connection refused or broken, timeout, or a response of 5xx.
    Failure,
    /// A failure of a request that this upstream had failed before. Does not count while the
    /// circuit is closed: the retries of one request alone do not open it. Counts as a failed
    /// probe.
    RepeatedFailure,
    /// The request was not sent, or ended before the result was known.
    Unknown,
}

impl CircuitOutcome {
    /// The result of a response with this verdict. `again` is whether the upstream had failed the
    /// request before.
    #[must_use]
    pub const fn of(verdict: Verdict, again: bool) -> Self {
        match verdict {
            Verdict::UpstreamError if again => Self::RepeatedFailure,
            Verdict::UpstreamError => Self::Failure,
            _ => Self::Success,
        }
    }

    /// Whether the upstream failed; `None` if unknown.
    fn is_failure(self) -> Option<bool> {
        match self {
            Self::Success => Some(false),
            Self::Failure | Self::RepeatedFailure => Some(true),
            Self::Unknown => None,
        }
    }
}

/// A change of a circuit's state, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitChange {
    /// The circuit opened.
    Opened {
        /// When probes may begin, on the monotonic clock.
        until_ms: u64,
        /// Requests in the window; 0 when a probe failed.
        all: u32,
        /// Failed requests in the window; 0 when a probe failed.
        failed: u32,
        /// Consecutive failures; 0 when a probe failed.
        consecutive: u32,
    },
    /// The circuit closed: its probes succeeded.
    Closed {
        /// How long it was not closed, in milliseconds.
        after_ms: u64,
    },
}

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// All requests are permitted.
    Closed,
    /// No request is permitted.
    Open,
    /// Only probes are permitted.
    HalfOpen,
}

impl CircuitState {
    /// The name in listings, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A circuit's state and counts, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitView {
    /// The state.
    pub state: CircuitState,
    /// Requests in the window.
    pub all: u32,
    /// Failed requests in the window.
    pub failed: u32,
    /// When probes may begin, on the monotonic clock; `None` unless the circuit is open.
    pub until_ms: Option<u64>,
    /// How often the circuit has opened since it was last closed.
    pub trips: u32,
    /// Requests of the last minute.
    pub recent: Counts,
}

impl CircuitView {
    /// The share of failed requests in the window.
    #[must_use]
    pub fn share(&self) -> Share {
        share(self.failed, self.all)
    }
}

fn share(failed: u32, all: u32) -> Share {
    Share((u64::from(failed.min(all)) * 10_000 / u64::from(all.max(1))) as u32)
}

impl Circuit {
    /// Gives a permit if a request may be sent now.
    pub(crate) fn admit(&mut self, circuit: CircuitId, now_ms: u64) -> Admission {
        if let Some(until_ms) = self.closed_to_all(now_ms) {
            return Admission::Open { until_ms };
        }
        let probe = self.state() != CircuitState::Closed;
        if probe {
            self.probe(now_ms);
        }
        Admission::Permitted(Permit {
            circuit,
            round: self.round,
            probe,
        })
    }

    /// Time on the monotonic clock before which no request may be sent; `None` if one may be sent
    /// now.
    pub(crate) fn closed_to_all(&self, now_ms: u64) -> Option<u64> {
        match self.state() {
            CircuitState::Closed => None,
            CircuitState::Open => {
                let left = self.until_ms.saturating_sub(now_ms);
                let waits = left > 0 && left <= self.settings.longest_ms();
                waits.then_some(self.until_ms)
            }
            CircuitState::HalfOpen => {
                let busy = self.probing >= self.settings.probes && !self.probes_lost(now_ms);
                busy.then(|| now_ms.saturating_add(PROBE_WAIT_MS))
            }
        }
    }

    /// Whether the circuit is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.state() == CircuitState::Closed
    }

    /// Counts the result of a permitted request. `random` adds jitter to the time of the next
    /// probe.
    pub(crate) fn note(
        &mut self,
        permit: Permit,
        outcome: CircuitOutcome,
        now_ms: u64,
        random: u64,
    ) -> Option<CircuitChange> {
        if let Some(failed) = outcome.is_failure() {
            self.recent.note(failed, RECENT_MS, now_ms);
        }
        if permit.round != self.round {
            return None;
        }
        match self.state() {
            CircuitState::Closed => self.count(outcome, now_ms, random),
            CircuitState::HalfOpen => self.probed(outcome, now_ms, random),
            CircuitState::Open => None,
        }
    }

    /// Claims the periodic probe. Returns `true` for one process per interval.
    pub(crate) fn claim_probe(&mut self, interval_ms: u64, now_ms: u64) -> bool {
        // The timers of processes are not synchronized, so a call slightly before the interval
        // ends counts.
        let due = now_ms.abs_diff(self.probed_ms) >= interval_ms - interval_ms / 8;
        if due {
            self.probed_ms = now_ms;
        }
        due
    }

    /// Applies the result of a periodic probe, which is independent of client requests.
    pub(crate) fn probed_aside(
        &mut self,
        good: bool,
        now_ms: u64,
        random: u64,
    ) -> Option<CircuitChange> {
        match (self.state(), good) {
            (CircuitState::Closed, _) => None,
            (_, true) => Some(self.close(now_ms)),
            (_, false) => {
                // No change is reported: the circuit was open before.
                self.open(now_ms, random);
                None
            }
        }
    }

    /// State and counts for a listing.
    pub(crate) fn status(&self, now_ms: u64) -> CircuitView {
        let counts = self.window.counts(self.settings.window_ms, now_ms);
        let until_ms = self.closed_to_all(now_ms);
        let state = match self.state() {
            CircuitState::Open if until_ms.is_none() => CircuitState::HalfOpen,
            state => state,
        };
        CircuitView {
            state,
            all: counts.all,
            failed: counts.failed,
            until_ms: until_ms.filter(|_| state == CircuitState::Open),
            trips: self.trips,
            recent: self.recent.counts(RECENT_MS, now_ms),
        }
    }

    fn count(
        &mut self,
        outcome: CircuitOutcome,
        now_ms: u64,
        random: u64,
    ) -> Option<CircuitChange> {
        let settings = self.settings;
        let failed = match outcome {
            CircuitOutcome::Success => false,
            CircuitOutcome::Failure => true,
            CircuitOutcome::RepeatedFailure | CircuitOutcome::Unknown => return None,
        };
        self.window.note(failed, settings.window_ms, now_ms);
        if !failed {
            self.streak = 0;
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        let counts = self.window.counts(settings.window_ms, now_ms);
        let too_many =
            |limit| counts.all >= settings.requests && share(counts.failed, counts.all) >= limit;
        let opens = settings.errors > Share(0) && too_many(settings.errors)
            || settings.failures > 0 && self.streak >= settings.failures;
        if !opens {
            return None;
        }
        self.trips = 0;
        Some(self.open(now_ms, random))
    }

    fn probed(
        &mut self,
        outcome: CircuitOutcome,
        now_ms: u64,
        random: u64,
    ) -> Option<CircuitChange> {
        self.probing = self.probing.saturating_sub(1);
        match outcome {
            CircuitOutcome::Unknown => None,
            CircuitOutcome::Failure | CircuitOutcome::RepeatedFailure => {
                Some(self.open(now_ms, random))
            }
            CircuitOutcome::Success => {
                self.succeeded = self.succeeded.saturating_add(1);
                if self.succeeded < self.settings.probes {
                    return None;
                }
                Some(self.close(now_ms))
            }
        }
    }

    fn close(&mut self, now_ms: u64) -> CircuitChange {
        let after_ms = now_ms.saturating_sub(self.since_ms);
        self.trips = 0;
        self.enter(CircuitState::Closed, now_ms);
        CircuitChange::Closed { after_ms }
    }

    fn open(&mut self, now_ms: u64, random: u64) -> CircuitChange {
        let settings = self.settings;
        let counts = self.window.counts(settings.window_ms, now_ms);
        let first = self.state() == CircuitState::Closed;
        let until_ms = now_ms.saturating_add(settings.open_for(self.trips, random));
        let consecutive = self.streak;
        let since_ms = if first { now_ms } else { self.since_ms };
        self.enter(CircuitState::Open, since_ms);
        self.trips = self.trips.saturating_add(1);
        self.until_ms = until_ms;
        CircuitChange::Opened {
            until_ms,
            all: counts.all,
            failed: counts.failed,
            consecutive,
        }
    }

    fn probe(&mut self, now_ms: u64) {
        if self.state() == CircuitState::Open {
            self.enter(CircuitState::HalfOpen, self.since_ms);
        } else if self.probing >= self.settings.probes {
            self.probing = 0;
        }
        self.probing = self.probing.saturating_add(1);
        self.until_ms = now_ms.saturating_add(PROBE_LOST_MS);
    }

    fn probes_lost(&self, now_ms: u64) -> bool {
        let left = self.until_ms.saturating_sub(now_ms);
        left == 0 || left > PROBE_LOST_MS
    }

    pub(super) fn enter(&mut self, state: CircuitState, since_ms: u64) {
        self.state = state as u32;
        self.round = self.round.wrapping_add(1);
        self.probing = 0;
        self.succeeded = 0;
        self.since_ms = since_ms;
        self.streak = 0;
        self.window.clear();
    }

    fn state(&self) -> CircuitState {
        match self.state {
            1 => CircuitState::Open,
            2 => CircuitState::HalfOpen,
            _ => CircuitState::Closed,
        }
    }
}

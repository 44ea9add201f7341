//! What a circuit lets through, and what it makes of the outcomes.

use super::record::{Circuit, CircuitId};
use super::settings::Share;
use crate::window::Counts;

/// A probe of which nothing is heard for so long is given up: its worker died.
const PROBE_LOST_MS: u64 = 60_000;
/// How far back the recent outcomes go.
const RECENT_MS: u32 = 60_000;
/// When to ask again while as many probes are under way as may be.
const PROBE_WAIT_MS: u64 = 1_000;

/// Leave to send one request. Its outcome must be told, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Whose circuit it is.
    pub circuit: CircuitId,
    round: u32,
    /// Whether the request probes an upstream that failed.
    pub probe: bool,
}

impl Pass {
    /// Leave that no circuit has given.
    pub(crate) fn stray(circuit: CircuitId) -> Self {
        Self {
            circuit,
            round: 0,
            probe: false,
        }
    }
}

/// Whether a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// It may.
    Go(Pass),
    /// Not before that time, on the monotonic clock; and then perhaps not, either.
    Open {
        /// The time.
        until_ms: u64,
    },
}

/// What became of a request that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream answered, be it with an error that is the client's or the key's.
    Good,
    /// It refused, broke off, was silent for too long, or answered 5xx.
    Faulty,
    /// The same, of a request that it had failed before: one request alone, sent again and
    /// again, does not open a circuit.
    FaultyAgain,
    /// It was not sent, or ended before anything could be told.
    Unknown,
}

impl Outcome {
    /// Whether the upstream failed, if that can be told.
    fn is_faulty(self) -> Option<bool> {
        match self {
            Self::Good => Some(false),
            Self::Faulty | Self::FaultyAgain => Some(true),
            Self::Unknown => None,
        }
    }
}

/// A circuit's change, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It opened.
    Opened {
        /// Until when.
        until_ms: u64,
        /// Outcomes in the window, and how many of them were faulty; none when a probe failed.
        all: u32,
        /// See `all`.
        faulty: u32,
        /// Faulty requests in a row.
        in_a_row: u32,
    },
    /// Its probes succeeded.
    Closed {
        /// For how long nothing but probes had gone.
        after_ms: u64,
    },
}

/// What a circuit is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Requests go.
    Closed,
    /// Nothing goes.
    Open,
    /// Probes go.
    HalfOpen,
}

impl Phase {
    /// Its name in listings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A circuit as a listing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// The outcomes that count now.
    pub all: u32,
    /// How many of them were faulty.
    pub faulty: u32,
    /// Until when it is open, if it is.
    pub until_ms: Option<u64>,
    /// How often it has opened in a row.
    pub trips: u32,
    /// The outcomes of the last minute.
    pub recent: Counts,
}

impl Status {
    /// The share of faulty outcomes.
    #[must_use]
    pub fn share(&self) -> Share {
        share(self.faulty, self.all)
    }
}

fn share(faulty: u32, all: u32) -> Share {
    Share((u64::from(faulty.min(all)) * 10_000 / u64::from(all.max(1))) as u32)
}

impl Circuit {
    /// Whether a request may go now; if so, it counts as sent.
    pub(crate) fn admit(&mut self, circuit: CircuitId, now_ms: u64) -> Admit {
        if let Some(until_ms) = self.closed_to_all(now_ms) {
            return Admit::Open { until_ms };
        }
        let probe = self.phase_now() != Phase::Closed;
        if probe {
            self.probe(now_ms);
        }
        Admit::Go(Pass {
            circuit,
            round: self.round,
            probe,
        })
    }

    /// Until when no request may go; `None`: one may now.
    pub(crate) fn closed_to_all(&self, now_ms: u64) -> Option<u64> {
        match self.phase_now() {
            Phase::Closed => None,
            Phase::Open => {
                let left = self.until_ms.saturating_sub(now_ms);
                let waits = left > 0 && left <= self.settings().longest_ms();
                waits.then_some(self.until_ms)
            }
            Phase::HalfOpen => {
                let busy = self.probing >= self.settings().probes && !self.probes_lost(now_ms);
                busy.then(|| now_ms.saturating_add(PROBE_WAIT_MS))
            }
        }
    }

    /// Whether all requests go.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase_now() == Phase::Closed
    }

    /// Notes an outcome. `random` spreads the probes of many machines.
    pub(crate) fn note(
        &mut self,
        pass: Pass,
        outcome: Outcome,
        now_ms: u64,
        random: u64,
    ) -> Option<Change> {
        if let Some(faulty) = outcome.is_faulty() {
            self.recent.note(faulty, RECENT_MS, now_ms);
        }
        if pass.round != self.round {
            return None;
        }
        match self.phase_now() {
            Phase::Closed => self.count(outcome, now_ms, random),
            Phase::HalfOpen => self.probed(outcome, now_ms, random),
            Phase::Open => None,
        }
    }

    /// Whether to probe it now, off the path of requests: one process does, once in
    /// every interval.
    pub(crate) fn claim_probe(&mut self, interval_ms: u64, now_ms: u64) -> bool {
        // A little early is in time: timers of different processes are not in step.
        let due = now_ms.abs_diff(self.probed_ms) >= interval_ms - interval_ms / 8;
        if due {
            self.probed_ms = now_ms;
        }
        due
    }

    /// Notes what a probe off the path of requests has shown.
    pub(crate) fn probed_aside(&mut self, good: bool, now_ms: u64, random: u64) -> Option<Change> {
        match (self.phase_now(), good) {
            (Phase::Closed, _) => None,
            (_, true) => Some(self.close(now_ms)),
            (_, false) => {
                // That it is open is known.
                self.open(now_ms, random);
                None
            }
        }
    }

    /// How it stands, for a listing.
    pub(crate) fn status(&self, now_ms: u64) -> Status {
        let counts = self.window.counts(self.settings().window_ms, now_ms);
        let until_ms = self.closed_to_all(now_ms);
        let phase = match self.phase_now() {
            Phase::Open if until_ms.is_none() => Phase::HalfOpen,
            phase => phase,
        };
        Status {
            phase,
            all: counts.all,
            faulty: counts.faulty,
            until_ms: until_ms.filter(|_| phase == Phase::Open),
            trips: self.trips,
            recent: self.recent.counts(RECENT_MS, now_ms),
        }
    }

    fn count(&mut self, outcome: Outcome, now_ms: u64, random: u64) -> Option<Change> {
        let settings = self.settings();
        let faulty = match outcome {
            Outcome::Good => false,
            Outcome::Faulty => true,
            Outcome::FaultyAgain | Outcome::Unknown => return None,
        };
        self.window.note(faulty, settings.window_ms, now_ms);
        if !faulty {
            self.streak = 0;
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        let counts = self.window.counts(settings.window_ms, now_ms);
        let too_many =
            |limit| counts.all >= settings.requests && share(counts.faulty, counts.all) >= limit;
        let opens = settings.errors.is_some_and(too_many)
            || settings.failures.is_some_and(|most| self.streak >= most);
        if !opens {
            return None;
        }
        self.trips = 0;
        Some(self.open(now_ms, random))
    }

    fn probed(&mut self, outcome: Outcome, now_ms: u64, random: u64) -> Option<Change> {
        self.probing = self.probing.saturating_sub(1);
        match outcome {
            Outcome::Unknown => None,
            Outcome::Faulty | Outcome::FaultyAgain => Some(self.open(now_ms, random)),
            Outcome::Good => {
                self.succeeded = self.succeeded.saturating_add(1);
                if self.succeeded < self.settings().probes {
                    return None;
                }
                Some(self.close(now_ms))
            }
        }
    }

    fn close(&mut self, now_ms: u64) -> Change {
        let after_ms = now_ms.saturating_sub(self.since_ms);
        self.trips = 0;
        self.enter(Phase::Closed, now_ms);
        Change::Closed { after_ms }
    }

    fn open(&mut self, now_ms: u64, random: u64) -> Change {
        let settings = self.settings();
        let counts = self.window.counts(settings.window_ms, now_ms);
        let first = self.phase_now() == Phase::Closed;
        let until_ms = now_ms.saturating_add(settings.open_for(self.trips, random));
        let in_a_row = self.streak;
        let since_ms = if first { now_ms } else { self.since_ms };
        self.enter(Phase::Open, since_ms);
        self.trips = self.trips.saturating_add(1);
        self.until_ms = until_ms;
        Change::Opened {
            until_ms,
            all: counts.all,
            faulty: counts.faulty,
            in_a_row,
        }
    }

    fn probe(&mut self, now_ms: u64) {
        if self.phase_now() == Phase::Open {
            self.enter(Phase::HalfOpen, self.since_ms);
        } else if self.probing >= self.settings().probes {
            self.probing = 0;
        }
        self.probing = self.probing.saturating_add(1);
        self.until_ms = now_ms.saturating_add(PROBE_LOST_MS);
    }

    fn probes_lost(&self, now_ms: u64) -> bool {
        let left = self.until_ms.saturating_sub(now_ms);
        left == 0 || left > PROBE_LOST_MS
    }

    pub(super) fn enter(&mut self, phase: Phase, since_ms: u64) {
        self.phase = phase as u32;
        self.round = self.round.wrapping_add(1);
        self.probing = 0;
        self.succeeded = 0;
        self.since_ms = since_ms;
        self.streak = 0;
        self.window.clear();
    }

    fn phase_now(&self) -> Phase {
        match self.phase {
            1 => Phase::Open,
            2 => Phase::HalfOpen,
            _ => Phase::Closed,
        }
    }
}

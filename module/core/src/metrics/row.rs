//! Rows of the tables in shared memory.

use bytemuck::{Pod, Zeroable};
use openai_wire::Tokens;
use openai_wire::usage::Source;
use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::named_counts;
use super::record::{OUTCOMES, Outcome, PoolRequest};
use super::words::{each, words};
use crate::prices::UNITS_PER_DOLLAR;

/// Maximum length of a row's name: pool and key, or model.
pub(super) const NAME: usize = 132;
/// Name of the row for names without a row.
pub const OTHER: &str = "other";

/// Name of a row.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Label {
    length: u32,
    name: [u8; NAME],
}

impl Label {
    /// A label with the first bytes of a name.
    pub(super) fn new(name: &str) -> Self {
        let mut label = Self::zeroed();
        let length = name.len().min(NAME);
        label.name[..length].copy_from_slice(&name.as_bytes()[..length]);
        label.length = length as u32;
        label
    }

    /// Whether the name fits into a row.
    pub(super) fn may_be(name: &str) -> bool {
        name.len() <= NAME && name != OTHER
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.name.get(..self.length as usize).unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        str::from_utf8(self.bytes()).unwrap_or_default()
    }
}

/// Highest plausible count of a row per day: 10 million requests with the most tokens that a
/// response can plausibly have.
const MOST_A_DAY: u64 = 1 << 50;
/// Highest plausible cost of a row per day, in units: a million dollars.
const MOST_COST_A_DAY: u64 = 1_000_000 * UNITS_PER_DOLLAR;

/// Hash of a name, never 0.
///
/// FNV-1a. Deliberate collisions do little harm, since there are few rows.
#[must_use]
pub fn hash(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash | 1
}

/// What is counted. What most requests add to comes first, within the first cache line of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Counters {
    /// Attempts.
    pub attempts: u64,
    /// Prompt tokens.
    pub prompt: u64,
    /// Completion tokens.
    pub completion: u64,
    /// Cost in units of [`crate::prices`].
    pub cost: u64,
    /// Total waiting time for leases.
    pub wait_ms: u64,
    /// Total time that leases were held.
    pub hold_ms: u64,
    /// Requests by outcome, in the order of their numbers.
    pub requests: [u64; OUTCOMES.len()],
    /// Attempts other than the first of a request.
    pub retries: u64,
    /// Cached prompt tokens.
    pub cached: u64,
    /// Reasoning tokens, a part of the completion tokens.
    pub reasoning: u64,
    /// Estimated prompt and completion tokens.
    pub estimated: u64,
    /// Requests that used tokens without a price.
    pub unpriced: u64,
    /// Locks whose service has reported a failure. Each was counted as a request when it was
    /// acquired.
    pub failed_locks: u64,
}

impl Counters {
    /// Requests by outcome, in the order of their numbers. A lock whose service has reported a
    /// failure is an upstream error, and not the success that it was counted as when it was
    /// acquired.
    #[must_use]
    pub fn outcomes(&self) -> [u64; OUTCOMES.len()] {
        let mut outcomes = self.requests;
        // Locks of an earlier day may have been reported as failed today.
        let failed = self.failed_locks.min(outcomes[Outcome::Success as usize]);
        outcomes[Outcome::Success as usize] -= failed;
        outcomes[Outcome::UpstreamError as usize] += failed;
        outcomes
    }

    /// The difference to an earlier state.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        each(*self, before, u64::saturating_sub)
    }

    /// Whether one machine can have counted this on one day.
    #[must_use]
    pub fn is_plausible_day(&self) -> bool {
        let rest = words(self)
            .iter()
            .filter(|&&word| word > MOST_A_DAY)
            .count();
        let cost = usize::from(self.cost > MOST_A_DAY);
        rest == cost && self.cost <= MOST_COST_A_DAY
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        each(*self, other, u64::saturating_add)
    }

    /// The higher value of each counter.
    pub(super) fn highest(&self, other: &Self) -> Self {
        each(*self, other, u64::max)
    }

    /// The counts of one request.
    pub(super) fn of(request: &PoolRequest<'_>) -> Self {
        // Implausible numbers would distort the sums permanently.
        let tokens = Some(request.tokens).filter(Tokens::is_plausible);
        let (cost, tokens) = (
            request.cost.filter(|_| tokens.is_some()),
            tokens.unwrap_or_default(),
        );
        let both = tokens.prompt.saturating_add(tokens.completion);
        let estimated = if request.source == Source::Estimated {
            both
        } else {
            0
        };
        let mut more = Self {
            attempts: request.attempts.into(),
            retries: request.attempts.saturating_sub(1).into(),
            prompt: tokens.prompt,
            completion: tokens.completion,
            cached: tokens.cached,
            reasoning: tokens.reasoning,
            estimated,
            cost: cost.unwrap_or_default(),
            unpriced: (cost.is_none() && both > 0).into(),
            wait_ms: request.wait_ms.unwrap_or_default(),
            hold_ms: request.hold_ms.unwrap_or_default(),
            ..Self::default()
        };
        more.requests[request.outcome as usize] = 1;
        more
    }
}

/// A row of a table.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Row {
    /// Hash of the name, written after the name. Not 0 in a used row.
    pub(super) hash: u64,
    pub(super) counters: Counters,
    pub(super) label: Label,
}

// Rows begin on a cache line.
const _: () = assert!(size_of::<Row>().is_multiple_of(64));

/// Histograms of a row of services, models or pools. There are too many keys for such rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable, Serialize, Deserialize)]
#[serde(default)]
#[repr(C)]
pub(super) struct Times {
    #[serde(with = "named_counts", skip_serializing_if = "Histogram::is_empty")]
    pub(super) duration: Histogram,
    #[serde(with = "named_counts", skip_serializing_if = "Histogram::is_empty")]
    pub(super) wait: Histogram,
    #[serde(with = "named_counts", skip_serializing_if = "Histogram::is_empty")]
    pub(super) hold: Histogram,
    #[serde(with = "named_counts", skip_serializing_if = "Histogram::is_empty")]
    pub(super) first_token: Histogram,
}

impl Times {
    /// Counts the durations of a request.
    pub(super) fn note(&mut self, request: &PoolRequest<'_>, duration_ms: u64) {
        for (histogram, ms) in [
            (&mut self.duration, Some(duration_ms)),
            (&mut self.wait, request.wait_ms),
            (&mut self.hold, request.hold_ms),
            (&mut self.first_token, request.first_token_ms),
        ] {
            if let Some(ms) = ms {
                histogram.note(ms);
            }
        }
    }
}

/// Name of a key's row: the pool, a slash, the key.
pub(super) fn join<'a>(room: &'a mut [u8; NAME], pool: &str, key: &str) -> &'a str {
    let mut length = 0;
    for part in [pool, "/", key] {
        let Some(place) = room.get_mut(length..length + part.len()) else {
            return OTHER;
        };
        place.copy_from_slice(part.as_bytes());
        length += part.len();
    }
    str::from_utf8(&room[..length]).unwrap_or(OTHER)
}

//! Rows of the tables in shared memory.

use bytemuck::{Pod, Zeroable};
use openai_wire::Tokens;
use openai_wire::usage::Source;

use super::histogram::Histogram;
use super::record::{OUTCOMES, PoolRequest};
use super::undo_log::{Additions, words};
use crate::prices::UNITS_PER_DOLLAR;

/// Maximum length of a row's name: pool and key, or model.
pub(super) const NAME: usize = 132;
/// Name of the row for names without a row.
pub(super) const OTHER: &str = "other";

/// Name of a row.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Label {
    /// Not 0 in a used row.
    pub(super) hash: u64,
    length: u32,
    name: [u8; NAME],
}

impl Label {
    pub(super) fn new(name: &str) -> Option<Self> {
        let mut label = Self::zeroed();
        label
            .name
            .get_mut(..name.len())?
            .copy_from_slice(name.as_bytes());
        label.hash = hash(name);
        label.length = name.len() as u32;
        Some(label)
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
/// FNV-1a. Collisions that somebody provokes do little harm, since the rows are few.
#[must_use]
pub fn hash(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash | 1
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Counters {
    /// Requests by outcome, in the order of their numbers.
    pub requests: [u64; OUTCOMES.len()],
    /// Attempts.
    pub attempts: u64,
    /// Attempts other than the first of a request.
    pub retries: u64,
    /// Prompt tokens.
    pub prompt: u64,
    /// Completion tokens.
    pub completion: u64,
    /// Cached prompt tokens.
    pub cached: u64,
    /// Reasoning tokens, a part of the completion tokens.
    pub reasoning: u64,
    /// Estimated prompt and completion tokens.
    pub estimated: u64,
    /// Cost in units of [`crate::prices`].
    pub cost: u64,
    /// Requests that used tokens without a price.
    pub unpriced: u64,
    /// Total waiting time for leases.
    pub wait_ms: u64,
    /// Total time that leases were held.
    pub hold_ms: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self::zeroed()
    }
}

impl Counters {
    /// The difference to an earlier state.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        self.each(before, u64::saturating_sub)
    }

    /// Whether one machine can have counted this on one day.
    #[must_use]
    pub fn is_plausible_day(&self) -> bool {
        let words: &[u64] = bytemuck::cast_slice(bytemuck::bytes_of(self));
        let rest = words.iter().filter(|&&word| word > MOST_A_DAY).count();
        let cost = usize::from(self.cost > MOST_A_DAY);
        rest == cost && self.cost <= MOST_COST_A_DAY
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// The higher value of each counter.
    pub(super) fn highest(&self, other: &Self) -> Self {
        self.each(other, u64::max)
    }

    fn each(&self, other: &Self, act: fn(u64, u64) -> u64) -> Self {
        let mut both = *self;
        let words: &mut [u64] = bytemuck::cast_slice_mut(bytemuck::bytes_of_mut(&mut both));
        for (word, other) in words
            .iter_mut()
            .zip(bytemuck::cast_slice(bytemuck::bytes_of(other)))
        {
            *word = act(*word, *other);
        }
        both
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

    /// The same, as additions to the words of a [`Row`].
    pub(super) fn more(mut self) -> Additions {
        let mut additions = Additions::default();
        for (word, &n) in words(&mut self).iter().enumerate() {
            additions.push(Row::COUNTERS + word, n);
        }
        additions
    }
}

/// A row of a table.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Row {
    pub(super) label: Label,
    pub(super) counters: Counters,
}

impl Row {
    /// Index of the first word of the counters.
    const COUNTERS: usize = size_of::<Label>() / size_of::<u64>();
}

/// Histograms of a row of services, models or pools. There are too many keys for such rows.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Times {
    pub(super) duration: Histogram,
    pub(super) wait: Histogram,
    pub(super) hold: Histogram,
    pub(super) first_token: Histogram,
}

impl Times {
    /// The additions of a request to the words.
    pub(super) fn more(request: &PoolRequest<'_>, duration_ms: u64) -> Additions {
        let mut additions = Additions::default();
        let times = [
            Some(duration_ms),
            request.wait_ms,
            request.hold_ms,
            request.first_token_ms,
        ];
        for (at, ms) in times.into_iter().enumerate() {
            if let Some(ms) = ms {
                additions.push_time(at * Histogram::WORDS, ms);
            }
        }
        additions
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

//! The rows of the tables, as they lie in shared memory.

use bytemuck::{Pod, Zeroable};

use super::histogram::Histogram;
use super::record::{OUTCOMES, Request};
use crate::openai::usage::Source;

/// Room for the name of a pool and that of a key, or of a model.
pub(super) const NAME: usize = 132;
/// The row for all that have none of their own.
pub(super) const OTHER: &str = "other";

/// Whose row it is.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Label {
    /// Not zero in a row that is used.
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

    pub(super) fn name(&self) -> &str {
        let bytes = self.name.get(..self.length as usize).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default()
    }
}

/// FNV-1a. Who could choose names that collide chooses among rows that are few anyway.
pub(super) fn hash(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash | 1
}

/// What is counted.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Counters {
    pub(super) requests: [u64; OUTCOMES.len()],
    pub(super) attempts: u64,
    /// Those that were not a request's first.
    pub(super) retries: u64,
    pub(super) prompt: u64,
    pub(super) completion: u64,
    pub(super) cached: u64,
    pub(super) reasoning: u64,
    /// Those of prompts and completions that are estimated.
    pub(super) estimated: u64,
    pub(super) cost: u64,
    /// Requests that used tokens without a price.
    pub(super) unpriced: u64,
    pub(super) wait_ms: u64,
    pub(super) hold_ms: u64,
}

impl Counters {
    pub(super) fn add(&mut self, request: &Request<'_>) {
        let tokens = request.tokens;
        let both = tokens.prompt.saturating_add(tokens.completion);
        let estimated = if request.source == Source::Estimated {
            both
        } else {
            0
        };
        let unpriced = request.cost.is_none() && both > 0;
        self.requests[request.outcome as usize] += 1;
        for (sum, more) in [
            (&mut self.attempts, request.attempts.into()),
            (&mut self.retries, request.attempts.saturating_sub(1).into()),
            (&mut self.prompt, tokens.prompt),
            (&mut self.completion, tokens.completion),
            (&mut self.cached, tokens.cached),
            (&mut self.reasoning, tokens.reasoning),
            (&mut self.estimated, estimated),
            (&mut self.cost, request.cost.unwrap_or_default()),
            (&mut self.unpriced, unpriced.into()),
            (&mut self.wait_ms, request.wait_ms.unwrap_or_default()),
            (&mut self.hold_ms, request.hold_ms.unwrap_or_default()),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// A row of a table.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Row {
    pub(super) label: Label,
    pub(super) counters: Counters,
}

/// The times of a row of services, models or pools; there are too many keys for these.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Times {
    pub(super) duration: Histogram,
    pub(super) wait: Histogram,
    pub(super) hold: Histogram,
    pub(super) first_token: Histogram,
}

impl Times {
    pub(super) fn add(&mut self, request: &Request<'_>, duration_ms: u64) {
        self.duration.add(duration_ms);
        for (histogram, ms) in [
            (&mut self.wait, request.wait_ms),
            (&mut self.hold, request.hold_ms),
            (&mut self.first_token, request.first_token_ms),
        ] {
            if let Some(ms) = ms {
                histogram.add(ms);
            }
        }
    }
}

//! The attempts of a request: which target, how many, after which delay, and the error if there is
//! no other.

mod answer;
mod choice;
mod conditions;
mod ending;
mod refusal;
mod retries;
#[cfg(test)]
mod tests;

pub use answer::AnswerState;
pub use choice::{Prospect, TargetSet, choose};
pub use conditions::Conditions;
pub use ending::{AfterFailure, Failure, after_failure, may_be_retried};
pub use refusal::{no_healthy_key, no_key, seconds};
pub use retries::Retries;

use openai_wire::Head;

/// Upper limit of the estimated tokens of a prompt: images are long in JSON, not in tokens.
const MAX_PROMPT_TOKENS: u64 = 32_768;
const BYTES_PER_TOKEN: u64 = 4;

/// Number of equal failures after which a request is not sent to the same upstream again.
pub const SAME_FAULT: usize = 2;
/// Maximum delay before the second attempt, in milliseconds; doubled for each further one.
const FIRST_PAUSE_MS: u64 = 100;
/// Highest value of that maximum.
const LONGEST_PAUSE_MS: u64 = 5_000;

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No connection, or it broke before the response.
    Error,
    /// No response in time.
    Timeout,
    /// A response with this status.
    Status(u16),
}

/// The upstream errors of a request.
#[derive(Debug, Default)]
pub struct UpstreamErrors(Vec<(usize, Fault)>);

impl UpstreamErrors {
    /// Adds an error of an upstream. Returns whether the request must not be sent to the upstream
    /// again, because the upstream has failed in the same way [`SAME_FAULT`] times.
    pub fn note(&mut self, upstream: usize, fault: Fault) -> bool {
        self.0.push((upstream, fault));
        let same = self.0.iter().filter(|&&known| known == (upstream, fault));
        same.count() >= SAME_FAULT
    }

    /// The delay before the next attempt at an upstream, in milliseconds. 0 if the upstream has not
    /// failed this request; otherwise a random time up to a maximum that doubles with each error
    /// (full jitter). The delay ends within `left_ms`, the time in which another attempt may begin.
    #[must_use]
    pub fn pause_ms(&self, upstream: usize, left_ms: u64, random: u64) -> u64 {
        let errors = self.0.iter().filter(|&&(known, _)| known == upstream);
        let Some(doublings) = errors.count().checked_sub(1) else {
            return 0;
        };
        let most = FIRST_PAUSE_MS << doublings.min(16);
        let most = most.min(LONGEST_PAUSE_MS).min(left_ms.saturating_sub(1));
        random % (most + 1)
    }

    /// Removes all errors.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The number of tokens that a request may use, estimated from the length of its body and from
/// the tokens that it allows for the response.
#[must_use]
pub fn estimated_tokens(head: &Head, body_length: u64) -> u32 {
    let prompt = (body_length / BYTES_PER_TOKEN).min(MAX_PROMPT_TOKENS);
    let each = u64::from(head.max_tokens.unwrap_or_default());
    let answers = each * u64::from(head.choices.unwrap_or(1));
    u32::try_from(prompt + answers).unwrap_or(u32::MAX)
}

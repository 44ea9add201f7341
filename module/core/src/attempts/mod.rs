//! Retries of a request after upstream errors: how many, and after which delay.

#[cfg(test)]
mod tests;

/// Number of equal failures after which a request is not sent to the same upstream again.
pub const SAME_FAULT: usize = 2;
/// Bound of the delay before the second attempt; doubled for each further one.
const FIRST_PAUSE_MS: u64 = 100;
/// Longest delay.
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
    /// Adds an error of an upstream. Returns whether the request must not be sent to it again: it
    /// has failed in the same way [`SAME_FAULT`] times.
    pub fn note(&mut self, upstream: usize, fault: Fault) -> bool {
        self.0.push((upstream, fault));
        let same = self.0.iter().filter(|&&known| known == (upstream, fault));
        same.count() >= SAME_FAULT
    }

    /// The delay before the next attempt at an upstream. 0 if the upstream has not failed this
    /// request; otherwise a random time up to a bound that doubles with each error (full jitter).
    /// The delay ends within `left_ms`, the time in which another attempt may begin.
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

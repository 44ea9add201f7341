//! Further attempts of a request that its upstream has failed: how many, and after which pause.

#[cfg(test)]
mod tests;

/// How often a request is sent to an upstream that fails it in the same way.
pub const SAME_FAULT: usize = 2;
/// The longest pause before the second attempt; it doubles with each further one.
const FIRST_PAUSE_MS: u64 = 100;
/// The longest of all.
const LONGEST_PAUSE_MS: u64 = 5_000;

/// Why an attempt is of no use to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No connection, or it broke before an answer.
    Error,
    /// No answer in time.
    Timeout,
    /// An answer of this status.
    Status(u16),
}

/// The upstream errors that a request has met.
#[derive(Debug, Default)]
pub struct UpstreamErrors(Vec<(usize, Fault)>);

impl UpstreamErrors {
    /// Notes an error of an upstream; whether the request is not to be sent to it again,
    /// since it has failed in the same way [`SAME_FAULT`] times.
    pub fn note(&mut self, upstream: usize, fault: Fault) -> bool {
        self.0.push((upstream, fault));
        let same = self.0.iter().filter(|&&known| known == (upstream, fault));
        same.count() >= SAME_FAULT
    }

    /// The pause before the next attempt at an upstream: none if that has not failed this
    /// request, else a random time up to a bound that doubles with each error (full jitter).
    /// It ends within the `left_ms` in which another attempt may begin.
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

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

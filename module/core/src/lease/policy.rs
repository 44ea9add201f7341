//! Configuration of key health, and the reports of responses.

use openai_wire::limits::Limits;
use openai_wire::verdict::Verdict;

use super::record::PoolRecord;

/// A pool's configuration of limits and cool-downs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    /// Requests per minute per key; 0 for no limit.
    pub rpm: u32,
    /// Tokens per minute per key; 0 for no limit.
    pub tpm: u32,
    /// Maximum of the first, random cool-down after a rate limit whose response states no time, in
    /// milliseconds. Doubles with each failure.
    pub rate_limited_ms: u64,
    /// Highest value to which that maximum is doubled.
    pub rate_limited_max_ms: u64,
    /// Cool-down of a key that is out of quota, in milliseconds.
    pub quota_exceeded_ms: u64,
    /// First cool-down of an invalid key, in milliseconds; doubles with each failure, up to an
    /// hour.
    pub invalid_key_ms: u64,
    /// Whether a key is on probation after every cool-down that a response caused. If not, only
    /// keys that were invalid or out of quota are.
    pub ramp: bool,
}

impl Default for KeyPolicy {
    fn default() -> Self {
        Self {
            rpm: 0,
            tpm: 0,
            rate_limited_ms: 1_000,
            rate_limited_max_ms: 60_000,
            quota_exceeded_ms: 3_600_000,
            invalid_key_ms: 60_000,
            ramp: true,
        }
    }
}

impl KeyPolicy {
    pub(crate) fn write(&self, pool: &mut PoolRecord) {
        pool.rpm = self.rpm;
        pool.tpm = self.tpm;
        pool.ramp = self.ramp.into();
        pool.rate_limited_ms = self.rate_limited_ms;
        pool.rate_limited_max_ms = self.rate_limited_max_ms;
        pool.quota_exceeded_ms = self.quota_exceeded_ms;
        pool.invalid_key_ms = self.invalid_key_ms;
    }

    pub(crate) fn of(pool: &PoolRecord) -> Self {
        Self {
            rpm: pool.rpm,
            tpm: pool.tpm,
            rate_limited_ms: pool.rate_limited_ms,
            rate_limited_max_ms: pool.rate_limited_max_ms,
            quota_exceeded_ms: pool.quota_exceeded_ms,
            invalid_key_ms: pool.invalid_key_ms,
            ramp: pool.ramp != 0,
        }
    }
}

/// Cause of a cool-down, in ascending order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Cause {
    /// The key has used up its configured limit.
    ConfiguredLimit = 1,
    /// The key has used up what the provider stated as remaining.
    ProviderLimit = 2,
    /// The provider rejected a request for its rate.
    RateLimited = 3,
    /// The key is out of quota.
    QuotaExceeded = 4,
    /// The provider does not accept the key.
    InvalidKey = 5,
}

impl Cause {
    pub(crate) fn from_word(word: u32) -> Self {
        match word {
            1 => Self::ConfiguredLimit,
            2 => Self::ProviderLimit,
            4 => Self::QuotaExceeded,
            5 => Self::InvalidKey,
            _ => Self::RateLimited,
        }
    }

    /// The name in logs, metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfiguredLimit => "configured_limit",
            Self::ProviderLimit => "provider_limit",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::InvalidKey => "invalid_key",
        }
    }

    /// Whether a response caused the cool-down, rather than a count of leases.
    pub(crate) fn is_by_response(self) -> bool {
        self >= Self::RateLimited
    }

    /// Whether the key recovers by itself after a while.
    #[must_use]
    pub fn is_passing(self) -> bool {
        self <= Self::RateLimited
    }
}

/// The part of an attempt's result that concerns the key.
#[derive(Clone, Copy, Debug)]
pub struct AttemptReport {
    /// The verdict.
    pub verdict: Verdict,
    /// Limits stated in the response's headers.
    pub limits: Limits,
    /// Status of the response; 0 without one.
    pub status: u16,
    /// Random number for cool-downs whose length is not stated.
    pub random: u64,
}

/// A change of a key's state, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// A cool-down began, was extended, or has a more serious cause.
    CoolingDown {
        /// The cause.
        cause: Cause,
        /// End of the cool-down on the monotonic clock.
        until_ms: u64,
        /// Consecutive failures.
        failures: u32,
    },
    /// A request or a probe with the key has succeeded after failures.
    Recovered,
}

//! What a pool's configuration says of its keys' health, and what answers report.

use openai_wire::limits::Limits;
use openai_wire::verdict::Verdict;

use super::record::Pool;

/// What the configuration of a pool says of its keys' health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    /// Requests a minute that each key may have; 0 for no limit.
    pub rpm: u32,
    /// Tokens a minute that each key may have; 0 for no limit.
    pub tpm: u32,
    /// The first cool-down of a rate limit that states none; it doubles.
    pub rate_ms: u64,
    /// The longest of those.
    pub rate_max_ms: u64,
    /// The cool-down of a key out of quota.
    pub quota_ms: u64,
    /// The first cool-down of a key that was refused; it doubles, up to an hour.
    pub revoked_ms: u64,
    /// Whether a key that returns begins with one lease, and twice as many with
    /// each good answer.
    pub ramp: bool,
}

impl Default for KeyPolicy {
    fn default() -> Self {
        Self {
            rpm: 0,
            tpm: 0,
            rate_ms: 1_000,
            rate_max_ms: 60_000,
            quota_ms: 3_600_000,
            revoked_ms: 60_000,
            ramp: true,
        }
    }
}

impl KeyPolicy {
    pub(crate) fn write(&self, pool: &mut Pool) {
        pool.rpm = self.rpm;
        pool.tpm = self.tpm;
        pool.ramp = self.ramp.into();
        pool.rate_ms = self.rate_ms;
        pool.rate_max_ms = self.rate_max_ms;
        pool.quota_ms = self.quota_ms;
        pool.revoked_ms = self.revoked_ms;
    }

    pub(crate) fn of(pool: &Pool) -> Self {
        Self {
            rpm: pool.rpm,
            tpm: pool.tpm,
            rate_ms: pool.rate_ms,
            rate_max_ms: pool.rate_max_ms,
            quota_ms: pool.quota_ms,
            revoked_ms: pool.revoked_ms,
            ramp: pool.ramp != 0,
        }
    }
}

/// Why a key is out. Later ones are graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Cause {
    /// It has had what the configuration allows it.
    Stated = 1,
    /// It has had what the provider said to be left.
    Limit = 2,
    /// The provider refused it for its rate.
    Rate = 3,
    /// It is out of quota.
    Quota = 4,
    /// The provider does not take it.
    Revoked = 5,
}

impl Cause {
    pub(crate) fn from_word(word: u32) -> Self {
        match word {
            1 => Self::Stated,
            2 => Self::Limit,
            4 => Self::Quota,
            5 => Self::Revoked,
            _ => Self::Rate,
        }
    }

    /// Its name in logs and variables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stated => "stated",
            Self::Limit => "limit",
            Self::Rate => "rate",
            Self::Quota => "quota",
            Self::Revoked => "revoked",
        }
    }

    /// Whether an answer put it out, and not a count of what it was given.
    pub(crate) fn is_judged(self) -> bool {
        self >= Self::Rate
    }

    /// Whether waiting for a while will do.
    #[must_use]
    pub fn is_passing(self) -> bool {
        self <= Self::Rate
    }
}

/// What an answer, or its absence, says of the key.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// What it amounts to.
    pub verdict: Verdict,
    /// What its headers tell.
    pub limits: Limits,
    /// Its status; 0 when there was no answer.
    pub status: u16,
    /// Chance, for cool-downs that nothing states.
    pub random: u64,
}

/// A change for the key that is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The key is out, or out for longer, or for a graver cause.
    Out {
        /// Why.
        cause: Cause,
        /// Until when, on the monotonic clock.
        until_ms: u64,
        /// How often in a row an answer has put it out.
        failures: u32,
    },
    /// After failures the key has served a request.
    Sound,
}

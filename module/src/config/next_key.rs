//! `openai_next_key` and related directives: after which failures to try another key, and
//! how often.

use nginx_safe::ConfResult;
use openai_core::attempts::{Conditions, Fault};

use super::values;

const MOST_TRIES: u32 = 100;

settings! {
    /// Settings of retries at one level.
    pub struct NextKey {}
    inherited {
        /// Failures after which another key is tried.
        conditions: Conditions = Conditions::DEFAULT,
        /// Maximum number of attempts. Attempts on a connection that the upstream had closed,
        /// or with a key that is invalid or out of quota, do not count.
        tries: u32 = 3,
        /// Time after the first request for a lease within which another attempt may begin, in
        /// milliseconds.
        timeout_ms: u64 = 30_000,
        /// Whether responses have a header with the number of attempts.
        adds_header: bool = false,
    }
}

impl NextKey {
    /// Whether to try another key after this fault.
    pub fn retries(&self, fault: Fault) -> bool {
        self.conditions().hold(fault)
    }
}

/// Reads the failures after which another key is tried.
pub fn conditions(words: &[&str]) -> ConfResult<Conditions> {
    Conditions::parse(words).map_err(|word| {
        let wanted =
            "\"off\" alone, or any of \"error\", \"timeout\" and \"http_400\" to \"http_599\"";
        values::invalid(word, wanted)
    })
}

/// Reads the maximum number of attempts; 0 means `MOST_TRIES`.
pub fn tries(text: &str) -> ConfResult<u32> {
    match values::number(0..=MOST_TRIES)(text)? {
        0 => Ok(MOST_TRIES),
        tries => Ok(tries),
    }
}

/// Reads the time for attempts; 0 means no limit.
pub fn timeout_ms(text: &str) -> ConfResult<u64> {
    match values::time_ms(text)? {
        0 => Ok(u64::MAX),
        ms => Ok(ms),
    }
}

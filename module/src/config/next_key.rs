//! `openai_next_key` and related directives: after which failures to try another key, and
//! how often.

use nginx_safe::ConfResult;
use openai_core::attempts::{Conditions, Fault};

use super::values;

const MOST_TRIES: u32 = 100;

pub fn conditions(words: &[&str]) -> ConfResult<Conditions> {
    let wanted = "\"off\" alone, or any of \"error\", \"timeout\" and \"http_400\" to \"http_599\"";
    Conditions::parse(words).map_err(|word| values::invalid(word, wanted))
}

/// Settings of retries at one level; `None` is inherited.
#[derive(Default)]
pub struct NextKey {
    pub(super) conditions: Option<Conditions>,
    pub(super) tries: Option<u32>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) header: Option<bool>,
}

impl NextKey {
    /// Whether to try another key after this fault.
    pub fn cures(&self, fault: Fault) -> bool {
        self.conditions.is_some_and(|known| known.hold(fault))
    }

    /// Maximum number of attempts. Attempts on a connection that the upstream had closed,
    /// or with a key that is invalid or out of quota, do not count.
    pub fn tries(&self) -> u32 {
        match self.tries {
            None => 3,
            Some(0) => MOST_TRIES,
            Some(tries) => tries,
        }
    }

    /// Time after the first request for a lease within which another attempt may begin, in
    /// milliseconds.
    pub fn timeout_ms(&self) -> u64 {
        match self.timeout_ms {
            None => 30_000,
            Some(0) => u64::MAX,
            Some(time) => time,
        }
    }

    /// Whether responses have a header with the number of attempts.
    pub fn tells(&self) -> bool {
        self.header.unwrap_or(false)
    }
}

/// Reads the maximum number of attempts; 0 means `MOST_TRIES`.
pub fn tries(text: &str) -> ConfResult<u32> {
    values::number(0..=MOST_TRIES)(text)
}

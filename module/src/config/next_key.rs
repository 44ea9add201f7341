//! `openai_next_key` and related directives: after which failures to try another key, and
//! how often.

use nginx_safe::ConfResult;
use openai_core::attempts::Fault;
use openai_core::digits;

use super::values;

const MOST_TRIES: u32 = 100;

/// Failures after which a request is tried with another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    error: bool,
    timeout: bool,
    /// One bit for each status from 400.
    statuses: [u64; 4],
}

impl Conditions {
    const NONE: Self = Self {
        error: false,
        timeout: false,
        statuses: [0; 4],
    };

    pub fn by_default() -> Self {
        let mut all = Self {
            error: true,
            timeout: true,
            ..Self::NONE
        };
        for status in [401, 403, 429, 500, 502, 503, 504] {
            all.add_status(status);
        }
        all
    }

    fn add_status(&mut self, status: u16) -> bool {
        let Some(at) = status.checked_sub(400).filter(|&at| at < 200) else {
            return false;
        };
        self.statuses[usize::from(at / 64)] |= 1 << (at % 64);
        true
    }

    /// Whether the fault is one of these failures.
    pub fn hold(&self, fault: Fault) -> bool {
        match fault {
            Fault::Error => self.error,
            Fault::Timeout => self.timeout,
            Fault::Status(status) => status.checked_sub(400).is_some_and(|at| {
                let word = self.statuses.get(usize::from(at / 64));
                word.is_some_and(|word| word >> (at % 64) & 1 == 1)
            }),
        }
    }

    pub fn parse(words: &[&str]) -> ConfResult<Self> {
        let mut said = Self::NONE;
        for word in words {
            let known = match *word {
                "off" if words.len() == 1 => true,
                "error" => {
                    said.error = true;
                    true
                }
                "timeout" => {
                    said.timeout = true;
                    true
                }
                _ => word
                    .strip_prefix("http_")
                    .and_then(digits)
                    .is_some_and(|status| said.add_status(status)),
            };
            if !known {
                let wanted = "\"off\" alone, or any of \"error\", \"timeout\" and \"http_400\" to \
                              \"http_599\"";
                return Err(values::invalid(word, wanted));
            }
        }
        Ok(said)
    }
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

//! The failures after which a request is retried.

use super::Fault;
use crate::digits;

/// Failures after which a request is retried: one bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions([u64; 4]);

impl Default for Conditions {
    fn default() -> Self {
        let statuses = [401, 403, 429, 500, 502, 503, 504].map(Fault::Status);
        let mut all = Self::NONE;
        for fault in [Fault::Error, Fault::Timeout].iter().chain(&statuses) {
            all.add(*fault);
        }
        all
    }
}

impl Conditions {
    const NONE: Self = Self([0; 4]);

    /// Reads `off` alone, or `error`, `timeout` and `http_400` to `http_599`.
    ///
    /// # Errors
    /// The first other word.
    pub fn parse<'a>(words: &[&'a str]) -> Result<Self, &'a str> {
        let mut said = Self::NONE;
        if words == ["off"] {
            return Ok(said);
        }
        for word in words {
            let fault = match *word {
                "error" => Some(Fault::Error),
                "timeout" => Some(Fault::Timeout),
                _ => word
                    .strip_prefix("http_")
                    .and_then(digits)
                    .map(Fault::Status),
            };
            if !fault.is_some_and(|fault| said.add(fault)) {
                return Err(word);
            }
        }
        Ok(said)
    }

    /// Whether the fault is one of these failures.
    #[must_use]
    pub fn hold(&self, fault: Fault) -> bool {
        bit(fault).is_some_and(|bit| self.0[bit / 64] >> (bit % 64) & 1 == 1)
    }

    /// Adds a failure; `false` if it cannot be one.
    fn add(&mut self, fault: Fault) -> bool {
        let bit = bit(fault);
        if let Some(bit) = bit {
            self.0[bit / 64] |= 1 << (bit % 64);
        }
        bit.is_some()
    }
}

fn bit(fault: Fault) -> Option<usize> {
    match fault {
        Fault::Status(status @ 400..=599) => Some(usize::from(status) - 400),
        Fault::Status(_) => None,
        Fault::Error => Some(200),
        Fault::Timeout => Some(201),
    }
}

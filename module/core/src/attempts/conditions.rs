//! After which failures another key is tried.

use super::Fault;
use crate::digits;

/// Failures after which a request is tried with another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    error: bool,
    timeout: bool,
    /// One bit for each status from 400 to 599.
    statuses: [u64; 4],
}

impl Conditions {
    const NONE: Self = Self {
        error: false,
        timeout: false,
        statuses: [0; 4],
    };

    /// Failures of the connection, and responses that another key or upstream may not give.
    pub const DEFAULT: Self = {
        let mut all = Self::NONE;
        (all.error, all.timeout) = (true, true);
        all.add(401)
            .add(403)
            .add(429)
            .add(500)
            .add(502)
            .add(503)
            .add(504)
    };

    const fn add(mut self, status: u16) -> Self {
        let at = status - 400;
        self.statuses[at as usize / 64] |= 1 << (at % 64);
        self
    }

    /// Whether the fault is one of these failures.
    #[must_use]
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

    /// Parses `off`, or a list of `error`, `timeout` and `http_400` to `http_599`.
    ///
    /// # Errors
    /// The first word that is none of these.
    pub fn parse<'a>(words: &[&'a str]) -> Result<Self, &'a str> {
        let mut all = Self::NONE;
        for &word in words {
            let status = word.strip_prefix("http_").and_then(digits::<u16>);
            match word {
                "off" if words.len() == 1 => {}
                "error" => all.error = true,
                "timeout" => all.timeout = true,
                _ => match status.filter(|status| (400..600).contains(status)) {
                    Some(status) => all = all.add(status),
                    None => return Err(word),
                },
            }
        }
        Ok(all)
    }
}

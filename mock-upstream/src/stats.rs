//! What arrived, as `/__mock/stats` shows it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Counts of the requests under `/v1/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests that arrived.
    pub requests: u64,
    /// Requests in flight: from their arrival until just before their last bytes leave.
    pub in_flight: u64,
    /// The highest number ever in flight at once.
    pub max_in_flight: u64,
    /// Requests whose client left before the end.
    pub aborted: u64,
}

/// A moment's statistics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// All keys together. `max_in_flight` may here count a client that has just left.
    pub totals: Counters,
    /// Requests that carried a token which must never arrive.
    pub forbidden_tokens: u64,
    /// By [`key_hash`] of the `Authorization` header; `none` for requests without one.
    pub keys: BTreeMap<String, Counters>,
}

impl Stats {
    /// The counts of the requests with this `Authorization` value, scheme included.
    pub fn key(&self, authorization: &str) -> Counters {
        self.keys
            .get(&key_hash(authorization))
            .copied()
            .unwrap_or_default()
    }

    /// The most requests of any one key that were ever in flight at once.
    pub fn max_in_flight_of_a_key(&self) -> u64 {
        self.keys
            .values()
            .map(|counters| counters.max_in_flight)
            .max()
            .unwrap_or(0)
    }
}

/// What the requests of a key have spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spending {
    /// Requests that were let in.
    pub admitted: u64,
    /// Requests that a limit, a quota or the key's state refused.
    pub refused: u64,
    /// Tokens of the prompts that were let in.
    pub prompt_tokens: u64,
    /// Tokens that were sent, also of answers whose client left.
    pub completion_tokens: u64,
}

impl Spending {
    pub(crate) fn add(&mut self, other: Self) {
        self.admitted += other.admitted;
        self.refused += other.refused;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
    }
}

/// The name under which an `Authorization` value is counted: the first 16 hexadecimal digits of
/// its SHA-256.
pub fn key_hash(authorization: impl AsRef<[u8]>) -> String {
    KeyName::of(Some(authorization.as_ref())).to_string()
}

/// The name of a key, or of the lack of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyName(Option<u64>);

impl KeyName {
    pub(crate) fn of(authorization: Option<&[u8]>) -> Self {
        Self(authorization.map(|value| {
            let digest = Sha256::digest(value);
            digest
                .iter()
                .take(8)
                .fold(0, |name, byte| name << 8 | u64::from(*byte))
        }))
    }

    /// Reads an API key, or the 16 hexadecimal digits under which it is counted.
    pub(crate) fn read(text: &str) -> Self {
        let text = text.trim();
        let is_name = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(name) if is_name => Self(Some(name)),
            _ if text == "none" => Self(None),
            _ => Self::of(Some(format!("Bearer {text}").as_bytes())),
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(hash) => write!(f, "{hash:016x}"),
            None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_the_sha_256_of_the_whole_value() {
        // printf 'Bearer sk-1' | sha256sum | cut -c1-16
        assert_eq!(key_hash("Bearer sk-1"), "c3e9a1c985d603e4");
        assert_eq!(KeyName::of(None).to_string(), "none");
    }
}

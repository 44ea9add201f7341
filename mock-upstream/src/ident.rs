//! Identifiers and times of one answer.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// The `system_fingerprint` of every answer.
pub(crate) const FINGERPRINT: &str = "fp_6d6f636b75";

/// An id of this kind: its prefix and 24 hexadecimal digits.
pub(crate) fn object_id(prefix: &str) -> String {
    format!(
        "{prefix}{:016x}{:08x}",
        fastrand::u64(..),
        fastrand::u32(..)
    )
}

/// A tool call's id: `call_` and 24 hexadecimal digits.
pub(crate) fn call_id() -> String {
    object_id("call_")
}

/// A request's id: `req_` and 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId(u128);

impl RequestId {
    pub(crate) fn new() -> Self {
        Self(fastrand::u128(..))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "req_{:032x}", self.0)
    }
}

/// Seconds since 1970, as in the field `created`.
pub(crate) fn created() -> u64 {
    since_1970().as_secs()
}

/// The time since 1970.
pub(crate) fn since_1970() -> std::time::Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

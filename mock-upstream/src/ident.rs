//! Identifiers and times of one answer.

use std::time::{SystemTime, UNIX_EPOCH};

/// The `system_fingerprint` of every answer.
pub(crate) const FINGERPRINT: &str = "fp_6d6f636b75";

/// An id of this kind: its prefix and 24 hexadecimal digits.
pub(crate) fn object_id(prefix: &str) -> String {
    let mut id = String::with_capacity(prefix.len() + 24);
    id.push_str(prefix);
    push(&mut id, &hex(fastrand::u64(..)));
    push(&mut id, &hex(fastrand::u64(..))[..8]);
    id
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

    pub(crate) fn text(self) -> String {
        let mut id = String::with_capacity(36);
        id.push_str("req_");
        push(&mut id, &hex((self.0 >> 64) as u64));
        push(&mut id, &hex(self.0 as u64));
        id
    }
}

/// Sixteen hexadecimal digits; the formatting machinery takes a dozen times as long.
fn hex(value: u64) -> [u8; 16] {
    std::array::from_fn(|at| b"0123456789abcdef"[(value >> (60 - 4 * at)) as usize & 15])
}

fn push(text: &mut String, digits: &[u8]) {
    // They are ASCII.
    text.push_str(std::str::from_utf8(digits).unwrap_or_default());
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

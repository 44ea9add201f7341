//! Identifiers and times of one answer.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// The `system_fingerprint` of every answer.
pub(crate) const FINGERPRINT: &str = "fp_6d6f636b75";

/// An id of this kind: its prefix and 24 hexadecimal digits.
pub(crate) fn object_id(prefix: &str) -> String {
    let mut digits = [0; 24];
    write_hex(&mut digits, &fastrand::u128(..).to_be_bytes());
    let mut id = String::with_capacity(prefix.len() + digits.len());
    id.push_str(prefix);
    // They are ASCII.
    id.push_str(str::from_utf8(&digits).unwrap_or_default());
    id
}

/// A tool call's id: `call_` and 24 hexadecimal digits.
pub(crate) fn call_id() -> String {
    object_id("call_")
}

/// A request's id: `req_` and 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId([u8; 16]);

impl RequestId {
    pub(crate) fn new() -> Self {
        Self(fastrand::u128(..).to_be_bytes())
    }

    pub(crate) fn digits(self) -> [u8; 36] {
        let mut digits = *b"req_00000000000000000000000000000000";
        write_hex(&mut digits[4..], &self.0);
        digits
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "req_{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Every byte in hexadecimal digits.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut hex = [[0; 2]; 256];
    let mut byte = 0;
    while byte < hex.len() {
        hex[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    hex
};

/// Writes bytes in hexadecimal digits, as many as there is room for; the formatting machinery
/// takes two dozen times as long.
fn write_hex(digits: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&HEX[usize::from(*byte)]);
    }
}

/// The time since 1970.
pub(crate) fn since_1970() -> std::time::Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

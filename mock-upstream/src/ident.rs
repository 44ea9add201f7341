//! Identifiers and times of one answer.

use std::time::{SystemTime, UNIX_EPOCH};

/// A completion's id: `chatcmpl-` and 24 hexadecimal digits.
pub(crate) fn completion_id() -> String {
    format!(
        "chatcmpl-{:016x}{:08x}",
        fastrand::u64(..),
        fastrand::u32(..)
    )
}

/// A request's id: `req_` and 32 hexadecimal digits.
pub(crate) fn request_id() -> String {
    format!("req_{:032x}", fastrand::u128(..))
}

/// Seconds since 1970, as in the field `created`.
pub(crate) fn created() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

//! Formatting of times in responses.

use std::time::{Duration, UNIX_EPOCH};

/// Formats a time as RFC 3339, rounded down to seconds.
#[must_use]
pub fn rfc3339(wall_us: u64) -> String {
    // The last second of the year 9999; later times cannot be formatted.
    let at = Duration::from_micros(wall_us).min(Duration::from_secs(253_402_300_799));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + at).to_string()
}

//! Times as they stand in answers.

use std::time::{Duration, UNIX_EPOCH};

/// A moment in RFC 3339, to the second before it.
#[must_use]
pub fn rfc3339(wall_us: u64) -> String {
    // The last second of the year 9999, after which there is no such form.
    let at = Duration::from_micros(wall_us).min(Duration::from_secs(253_402_300_799));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + at).to_string()
}

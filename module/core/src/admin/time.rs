//! Formatting of times in responses.

use std::time::{Duration, UNIX_EPOCH};

use crate::lease::Now;

impl Now {
    /// The wall-clock time as RFC 3339, rounded down to seconds.
    #[must_use]
    pub fn timestamp(self) -> String {
        // The last second of the year 9999; later times cannot be formatted.
        let at = Duration::from_micros(self.wall_us).min(Duration::from_secs(253_402_300_799));
        humantime::format_rfc3339_seconds(UNIX_EPOCH + at).to_string()
    }

    /// The wall-clock time this many milliseconds from now.
    #[must_use]
    pub fn timestamp_after(self, ms: u64) -> String {
        self.timestamp_of(self.mono_ms.saturating_add(ms))
    }

    /// The wall-clock time of a moment of the monotonic clock.
    #[must_use]
    pub fn timestamp_of(mut self, mono_ms: u64) -> String {
        let ahead = mono_ms.saturating_sub(self.mono_ms) * 1_000;
        let ago = self.mono_ms.saturating_sub(mono_ms) * 1_000;
        self.wall_us = (self.wall_us + ahead).saturating_sub(ago);
        self.timestamp()
    }
}

//! Calendar days in UTC.

use core::fmt;

use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime};

/// The Julian day of 1970-01-01.
const EPOCH: i32 = 2_440_588;
/// 9999-12-31, the last day of a year with four digits.
const LAST: u32 = 2_932_896;

/// A day, as its number since 1970-01-01.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

impl Day {
    /// The day of a time in microseconds since 1970.
    #[must_use]
    pub const fn of(wall_us: u64) -> Self {
        Self::from_number(wall_us / 86_400_000_000)
    }

    /// The day with this number, limited to the year 9999.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(if number < LAST as u64 {
            number as u32
        } else {
            LAST
        })
    }

    /// The number of the day since 1970-01-01.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Parses a date, or the day of a time in RFC 3339; 1970-01-01 for earlier ones.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let moment = match text.len() {
            10 => OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339),
            _ => OffsetDateTime::parse(text, &Rfc3339),
        };
        let seconds = moment.ok()?.unix_timestamp();
        Some(Self::from_number(seconds.max(0).unsigned_abs() / 86_400))
    }

    /// The first day of its month.
    #[must_use]
    pub fn month(self) -> Self {
        Self(self.0 + 1 - u32::from(self.date().day()))
    }

    /// The day that many days earlier.
    #[must_use]
    pub const fn before(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }

    fn date(self) -> Date {
        Date::from_julian_day(EPOCH.saturating_add_unsigned(self.0)).unwrap_or(Date::MAX)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date().fmt(f)
    }
}

//! Limits in the provider's response headers.

#[cfg(test)]
mod tests;

use std::time::{Duration, UNIX_EPOCH};

/// Maximum of all times, in milliseconds. Longer times are reduced to it.
pub const MOST_MS: u64 = 24 * 3_600_000;

/// A limit of requests or of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// The whole limit.
    pub full: Option<u64>,
    /// The remainder.
    pub left: Option<u64>,
    /// Milliseconds until the limit is whole again.
    pub reset_ms: Option<u64>,
}

/// The limits in the headers of a response. Invalid values count as absent, and no time exceeds
/// [`MOST_MS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `x-ratelimit-*-requests`.
    pub requests: Limit,
    /// `x-ratelimit-*-tokens`.
    pub tokens: Limit,
    /// `retry-after-ms`.
    retry_ms: Option<u64>,
    /// `retry-after`, in milliseconds.
    retry: Option<u64>,
}

/// Whether a header forbids a retry of the request.
#[must_use]
pub fn forbids_retry(name: &[u8], value: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"x-should-retry")
        && value.trim_ascii().eq_ignore_ascii_case(b"false")
}

impl Limits {
    /// Reads a header; other names are ignored. The wall clock, in milliseconds since the epoch,
    /// is needed for dates.
    pub fn header(&mut self, name: &[u8], value: &[u8], wall_ms: u64) {
        // Skips most headers by their first letter.
        if !matches!(name.first(), Some(b'r' | b'R' | b'x' | b'X')) {
            return;
        }
        let Some(value) = std::str::from_utf8(value).ok().map(str::trim) else {
            return;
        };
        let (requests, tokens) = (&mut self.requests, &mut self.tokens);
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match () {
            () if is(b"retry-after-ms") => self.retry_ms = number_ms(value, 1.0),
            () if is(b"retry-after") => {
                self.retry = number_ms(value, 1_000.0).or_else(|| until_date(value, wall_ms));
            }
            () if is(b"x-ratelimit-limit-requests") => requests.full = value.parse().ok(),
            () if is(b"x-ratelimit-limit-tokens") => tokens.full = value.parse().ok(),
            () if is(b"x-ratelimit-remaining-requests") => requests.left = value.parse().ok(),
            () if is(b"x-ratelimit-remaining-tokens") => tokens.left = value.parse().ok(),
            () if is(b"x-ratelimit-reset-requests") => requests.reset_ms = duration_ms(value),
            () if is(b"x-ratelimit-reset-tokens") => tokens.reset_ms = duration_ms(value),
            () => {}
        }
    }

    /// How long the provider wants no requests with the key: until the last used-up limit is
    /// whole again, and at least the stated retry time.
    #[must_use]
    pub fn wait_ms(&self) -> Option<u64> {
        let used_up = [self.requests, self.tokens]
            .into_iter()
            .filter(|limit| limit.left == Some(0))
            .filter_map(|limit| limit.reset_ms);
        let wait = used_up.chain(self.retry_ms.or(self.retry)).max();
        wait.filter(|&ms| ms > 0)
    }
}

/// A plain number in some unit, rounded up to milliseconds.
fn number_ms(text: &str, unit_ms: f64) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value: f64 = text.parse().ok().filter(|_| plain)?;
    // The conversion saturates.
    Some(((value * unit_ms).ceil() as u64).min(MOST_MS))
}

fn until_date(text: &str, wall_ms: u64) -> Option<u64> {
    let date = httpdate::parse_http_date(text).ok()?;
    let now = UNIX_EPOCH.checked_add(Duration::from_millis(wall_ms))?;
    let left = date.duration_since(now).unwrap_or_default().as_millis();
    Some(u64::try_from(left).unwrap_or(MOST_MS).min(MOST_MS))
}

/// A duration in Go's format, `6m0s`, or a plain number of seconds.
fn duration_ms(text: &str) -> Option<u64> {
    if let Some(seconds) = number_ms(text, 1_000.0) {
        return Some(seconds);
    }
    let mut rest = text;
    let mut total = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let unit_ms = match unit {
            "ns" => 1e-6,
            "us" | "µs" | "μs" => 1e-3,
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3_600e3,
            _ => return None,
        };
        total = number_ms(number, unit_ms)?.saturating_add(total);
        rest = after;
    }
    Some(total.min(MOST_MS))
}

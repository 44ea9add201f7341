//! Limits by the minute, as the real API counts them: a bucket that refills steadily, reported by
//! `x-ratelimit-…` headers.

use std::time::Duration;

const MINUTE: u128 = Duration::from_secs(60).as_nanos();

/// What has been taken and has not come back yet. Exact: in units of a 60,000,000,000th, a limit
/// of `n` a minute gives back `n` units a nanosecond.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    owed: u128,
    as_of: Duration,
}

impl Bucket {
    /// Gives back what is due by now.
    fn refill(&mut self, now: Duration, limit: u64) {
        let elapsed = now.saturating_sub(self.as_of).as_nanos();
        self.owed = self.owed.saturating_sub(elapsed * u128::from(limit));
        self.as_of = self.as_of.max(now);
    }

    /// How long until so much can be taken; `None` when it is more than the limit.
    pub(crate) fn wait(&mut self, now: Duration, limit: u64, amount: u64) -> Option<Duration> {
        self.refill(now, limit);
        let room = u128::from(limit.checked_sub(amount)?) * MINUTE;
        Some(nanos(self.owed.saturating_sub(room), limit))
    }

    /// Takes so much, be there room or not.
    pub(crate) fn take(&mut self, amount: u64) {
        self.owed += u128::from(amount) * MINUTE;
    }

    /// What is left, and how long until nothing is owed any more.
    pub(crate) fn level(&mut self, now: Duration, limit: u64) -> Level {
        self.refill(now, limit);
        let left = (u128::from(limit) * MINUTE).saturating_sub(self.owed) / MINUTE;
        Level {
            limit,
            remaining: u64::try_from(left).unwrap_or(limit),
            reset: nanos(self.owed, limit),
        }
    }
}

fn nanos(units: u128, limit: u64) -> Duration {
    let nanos = units.div_ceil(u128::from(limit.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A limit as the headers report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) reset: Duration,
}

/// A duration as Go writes it, to the millisecond and rounded up: `12ms`, `1s`, `6m0s`.
pub(crate) fn go_duration(time: Duration) -> String {
    let millis = time.as_nanos().div_ceil(1_000_000);
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = match (rest / 1_000, rest % 1_000) {
        (whole, 0) => format!("{whole}s"),
        (whole, fraction) => {
            let fraction = format!("{fraction:03}");
            format!("{whole}.{}s", fraction.trim_end_matches('0'))
        }
    };
    match (minutes / 60, minutes % 60) {
        (0, 0) if (1..1_000).contains(&millis) => format!("{millis}ms"),
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// How many of those who ask at these times get in.
    fn admitted(limit: u64, times: impl Iterator<Item = Duration>) -> u64 {
        let mut bucket = Bucket::default();
        let mut admitted = 0;
        for now in times {
            if bucket.wait(now, limit, 1) == Some(Duration::ZERO) {
                bucket.take(1);
                admitted += 1;
            }
        }
        admitted
    }

    #[test]
    fn ten_thousand_requests_get_exactly_what_the_limit_allows() {
        // All at once: the limit. Over a minute: the limit, and what comes back in the minute.
        assert_eq!(admitted(100, (0..10_000).map(|_| at(0.0))), 100);
        let over_a_minute = (0..=10_000).map(|i| at(f64::from(i) * 0.006));
        assert_eq!(admitted(100, over_a_minute), 200);
        for limit in [1, 3, 7, 60, 100, 997] {
            let over_an_hour = (0..=360_000).map(|i| Duration::from_millis(i * 10));
            assert_eq!(admitted(limit, over_an_hour), limit * 61, "{limit}");
        }
    }

    #[test]
    fn reports_what_is_left_and_when_it_is_full_again() {
        let mut bucket = Bucket::default();
        bucket.take(1);
        let level = bucket.level(at(0.0), 60);
        assert_eq!((level.remaining, level.reset), (59, at(1.0)));
        let level = bucket.level(at(0.5), 60);
        assert_eq!((level.remaining, level.reset), (59, at(0.5)));
        let level = bucket.level(at(1.0), 60);
        assert_eq!((level.remaining, level.reset), (60, at(0.0)));
        bucket.take(60);
        assert_eq!(bucket.wait(at(1.0), 60, 1), Some(at(1.0)));
        assert_eq!(bucket.wait(at(1.0), 60, 60), Some(at(60.0)));
        assert_eq!(bucket.wait(at(1.0), 60, 61), None);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_twice() {
        let mut bucket = Bucket::default();
        bucket.take(60);
        assert_eq!(bucket.level(at(10.0), 60).remaining, 10);
        assert_eq!(bucket.level(at(5.0), 60).remaining, 10);
        assert_eq!(bucket.level(at(10.0), 60).remaining, 10);
    }

    #[test]
    fn durations_are_written_as_go_does() {
        for (millis, text) in [
            (0, "0s"),
            (12, "12ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (59_999, "59.999s"),
            (60_000, "1m0s"),
            (90_500, "1m30.5s"),
            (360_000, "6m0s"),
            (3_600_000, "1h0m0s"),
            (86_400_000, "24h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(go_duration(Duration::from_nanos(1)), "1ms");
    }
}

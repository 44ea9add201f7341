//! How long things take.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::duration::parse_duration;

/// The standard normal distribution's 95th and 99th percentiles.
const Z95: f64 = 1.644_853_626_951_472_2;
const Z99: f64 = 2.326_347_874_040_840_8;
/// No sample lies further out: one in thirty thousand would.
const Z_MAX: f64 = 4.0;

/// A time, or a distribution that times are drawn from.
///
/// As text: `50ms`, `normal(50ms,10ms)` (mean and standard deviation), `lognormal(50ms,120ms)`
/// (p50 and p95), `20ms:60ms:200ms` (p50, p95 and p99).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// Always the same.
    Constant(Duration),
    /// A normal distribution; what would be negative is zero.
    Normal {
        /// The mean.
        mean: Duration,
        /// The standard deviation.
        deviation: Duration,
    },
    /// A lognormal distribution.
    LogNormal {
        /// The median.
        p50: Duration,
        /// The 95th percentile.
        p95: Duration,
    },
    /// Through three percentiles, lognormal between and beyond them.
    Points {
        /// The median.
        p50: Duration,
        /// The 95th percentile.
        p95: Duration,
        /// The 99th percentile.
        p99: Duration,
    },
}

/// A text that is no latency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no latency: write 50ms, normal(50ms,10ms), lognormal(50ms,120ms) (p50, p95) or \
     20ms:60ms:200ms (p50:p95:p99, rising)"
)]
pub struct LatencyError(String);

impl Latency {
    /// No time at all.
    pub const ZERO: Self = Self::Constant(Duration::ZERO);

    pub(crate) fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    pub(crate) fn sample(self, rng: &mut impl Rng) -> Duration {
        if let Self::Constant(time) = self {
            return time;
        }
        let z: f64 = StandardNormal.sample(rng);
        let z = z.clamp(-Z_MAX, Z_MAX);
        let seconds = match self {
            Self::Constant(time) => time.as_secs_f64(),
            Self::Normal { mean, deviation } => mean.as_secs_f64() + z * deviation.as_secs_f64(),
            Self::LogNormal { p50, p95 } => between(p50, p95, z / Z95),
            Self::Points { p50, p95, .. } if z <= Z95 => between(p50, p95, z / Z95),
            Self::Points { p95, p99, .. } => between(p95, p99, (z - Z95) / (Z99 - Z95)),
        };
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }
}

/// The point at `share` of the way from one time to another, on a logarithmic scale.
fn between(from: Duration, to: Duration, share: f64) -> f64 {
    let (from, to) = (from.as_secs_f64(), to.as_secs_f64());
    from * (to / from).powf(share)
}

impl From<Duration> for Latency {
    fn from(time: Duration) -> Self {
        Self::Constant(time)
    }
}

impl FromStr for Latency {
    type Err = LatencyError;

    fn from_str(text: &str) -> Result<Self, LatencyError> {
        let wrong = || LatencyError(text.to_owned());
        let time = |text: &str| parse_duration(text).map_err(|_| wrong());
        let pair = |name: &str| {
            let inner = text.trim().strip_prefix(name)?.trim_start();
            inner.strip_prefix('(')?.strip_suffix(')')?.split_once(',')
        };
        if let Some((mean, deviation)) = pair("normal") {
            let (mean, deviation) = (time(mean)?, time(deviation)?);
            return Ok(Self::Normal { mean, deviation });
        }
        if let Some((p50, p95)) = pair("lognormal") {
            let (p50, p95) = (time(p50)?, time(p95)?);
            let rising = !p50.is_zero() && p50 <= p95;
            return rising
                .then_some(Self::LogNormal { p50, p95 })
                .ok_or_else(wrong);
        }
        let parts: Vec<&str> = text.split(':').collect();
        match *parts {
            [constant] => time(constant).map(Self::Constant),
            [p50, p95, p99] => {
                let (p50, p95, p99) = (time(p50)?, time(p95)?, time(p99)?);
                let rising = !p50.is_zero() && p50 <= p95 && p95 <= p99;
                rising
                    .then_some(Self::Points { p50, p95, p99 })
                    .ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(time) => write!(f, "{time:?}"),
            Self::Normal { mean, deviation } => write!(f, "normal({mean:?},{deviation:?})"),
            Self::LogNormal { p50, p95 } => write!(f, "lognormal({p50:?},{p95:?})"),
            Self::Points { p50, p95, p99 } => write!(f, "{p50:?}:{p95:?}:{p99:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    /// p50, p95 and p99 of many samples, in milliseconds.
    fn percentiles(latency: &str) -> [f64; 3] {
        let latency: Latency = latency.parse().expect("a latency");
        let mut rng = SmallRng::seed_from_u64(1);
        let mut samples: Vec<Duration> = (0..200_000).map(|_| latency.sample(&mut rng)).collect();
        samples.sort();
        [0.50, 0.95, 0.99].map(|share| {
            let index = (samples.len() as f64 * share) as usize;
            samples[index].as_secs_f64() * 1e3
        })
    }

    #[track_caller]
    fn assert_near(latency: &str, expected: [f64; 3]) {
        for (found, expected) in percentiles(latency).into_iter().zip(expected) {
            let error = (found - expected).abs() / expected;
            assert!(error < 0.03, "{latency}: {found} instead of {expected}");
        }
    }

    #[test]
    fn samples_have_the_percentiles_asked_for() {
        assert_near("50ms", [50.0; 3]);
        assert_near("normal(50ms,10ms)", [50.0, 66.4, 73.3]);
        assert_near("lognormal(50ms,120ms)", [50.0, 120.0, 172.5]);
        assert_near("20ms:60ms:200ms", [20.0, 60.0, 200.0]);
        assert_near("20ms:20ms:40ms", [20.0, 20.0, 40.0]);
    }

    #[test]
    fn no_sample_is_negative() {
        let mut rng = SmallRng::seed_from_u64(1);
        let latency: Latency = "normal(1ms,10ms)".parse().expect("a latency");
        let zeros = (0..1_000).filter(|_| latency.sample(&mut rng).is_zero());
        assert!(zeros.count() > 300);
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "soon",
            "normal(1)",
            "lognormal(0,1)",
            "lognormal(5ms,1ms)",
            "1:2",
            "3:2:1",
            "0:1:2",
            "1:2:3:4",
            "normal 1 2",
        ] {
            assert!(text.parse::<Latency>().is_err(), "{text}");
        }
    }

    #[test]
    fn is_shown_as_it_is_read() {
        for text in [
            "50ms",
            "normal(50ms,10ms)",
            "lognormal(50ms,120ms)",
            "20ms:60ms:1.5s",
        ] {
            let latency: Latency = text.parse().expect("a latency");
            assert_eq!(latency.to_string(), text);
        }
    }
}

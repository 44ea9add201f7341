//! What was measured.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bench::BenchError;

/// Times are kept to three digits, from a microsecond to an hour.
const LOWEST: u64 = 1_000;
const HIGHEST: u64 = 3_600_000_000_000;

/// What is measured of every stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// From the intended send to the response headers.
    FirstByte,
    /// From the intended send to the first part of the answer.
    FirstToken,
    /// Between two parts of an answer, of all streams together.
    BetweenTokens,
    /// The longest of those, of each stream.
    LongestStall,
    /// From first to last part of the answer, by the number of parts that follow the first.
    PerToken,
    /// From the intended send to the end.
    EndToEnd,
    /// From the intended send to the send.
    SendLag,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::FirstByte,
        Self::FirstToken,
        Self::BetweenTokens,
        Self::LongestStall,
        Self::PerToken,
        Self::EndToEnd,
        Self::SendLag,
    ];

    /// For people and programs alike.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstByte => "first_byte",
            Self::FirstToken => "first_token",
            Self::BetweenTokens => "between_tokens",
            Self::LongestStall => "longest_stall",
            Self::PerToken => "per_output_token",
            Self::EndToEnd => "end_to_end",
            Self::SendLag => "send_lag",
        }
    }
}

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection, or none that lasts until the response headers.
    Connect,
    /// A status that is no success.
    Status(u16),
    /// Not over in time.
    Timeout,
    /// Ended before its end.
    Truncated,
    /// An event that is no JSON.
    Malformed,
    /// An error event.
    InBandError,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Status(status) => write!(f, "status_{status}"),
            Self::Timeout => f.write_str("timeout"),
            Self::Truncated => f.write_str("truncated"),
            Self::Malformed => f.write_str("malformed"),
            Self::InBandError => f.write_str("in_band_error"),
        }
    }
}

/// One stream that ended well.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) lag: Duration,
    pub(super) first_byte: Duration,
    /// When parts of the answer came, from the intended send.
    pub(super) tokens: Vec<Duration>,
    pub(super) end: Duration,
    pub(super) chunks: u64,
    pub(super) bytes: u64,
}

/// The measurements of many streams; two can be merged.
#[derive(Debug, Clone)]
pub struct Record {
    histograms: Vec<Histogram<u64>>,
    /// Streams that ended well.
    pub completed: u64,
    /// Events of those.
    pub chunks: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Requests that failed, by the way in which.
    pub failures: BTreeMap<Failure, u64>,
    /// Requests that were to be sent in an open loop.
    pub intended: u64,
    /// From the first request that counts to the end of the last answer.
    pub sending: Duration,
    /// The share of its time that the busiest sending thread was busy.
    pub busy: f64,
}

impl Record {
    pub(super) fn new() -> Result<Self, BenchError> {
        let histogram = || {
            Histogram::new_with_bounds(LOWEST, HIGHEST, 3)
                .map_err(|error| BenchError::Histogram(error.to_string()))
        };
        let histograms: Result<_, _> = Measure::ALL.iter().map(|_| histogram()).collect();
        Ok(Self {
            histograms: histograms?,
            completed: 0,
            chunks: 0,
            bytes: 0,
            failures: BTreeMap::new(),
            intended: 0,
            sending: Duration::ZERO,
            busy: 0.0,
        })
    }

    /// The distribution of a measure, in nanoseconds.
    pub fn histogram(&self, measure: Measure) -> &Histogram<u64> {
        &self.histograms[measure as usize]
    }

    /// A percentile of a measure.
    pub fn percentile(&self, measure: Measure, percentile: f64) -> Duration {
        Duration::from_nanos(self.histogram(measure).value_at_percentile(percentile))
    }

    pub(super) fn add(&mut self, sample: &Sample) {
        self.completed += 1;
        self.chunks += sample.chunks;
        self.bytes += sample.bytes;
        self.note(Measure::SendLag, sample.lag);
        self.note(Measure::FirstByte, sample.first_byte);
        self.note(Measure::EndToEnd, sample.end);
        let [first, .., last] = sample.tokens[..] else {
            if let [only] = sample.tokens[..] {
                self.note(Measure::FirstToken, only);
            }
            return;
        };
        self.note(Measure::FirstToken, first);
        let mut longest = Duration::ZERO;
        for pair in sample.tokens.windows(2) {
            let gap = pair[1].saturating_sub(pair[0]);
            longest = longest.max(gap);
            self.note(Measure::BetweenTokens, gap);
        }
        self.note(Measure::LongestStall, longest);
        let following = u32::try_from(sample.tokens.len() - 1).unwrap_or(u32::MAX);
        self.note(Measure::PerToken, last.saturating_sub(first) / following);
    }

    fn note(&mut self, measure: Measure, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.histograms[measure as usize].saturating_record(nanos);
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        *self.failures.entry(failure).or_default() += 1;
    }

    /// Adds another's measurements.
    pub fn merge(&mut self, other: &Self) -> Result<(), BenchError> {
        for (own, others) in self.histograms.iter_mut().zip(&other.histograms) {
            own.add(others)
                .map_err(|error| BenchError::Histogram(error.to_string()))?;
        }
        self.completed += other.completed;
        self.chunks += other.chunks;
        self.bytes += other.bytes;
        self.intended += other.intended;
        self.sending += other.sending;
        self.busy = self.busy.max(other.busy);
        for (failure, count) in &other.failures {
            *self.failures.entry(*failure).or_default() += count;
        }
        Ok(())
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(tokens: &[u64]) -> Sample {
        Sample {
            tokens: tokens.iter().map(|ms| Duration::from_millis(*ms)).collect(),
            end: Duration::from_millis(100),
            ..Sample::default()
        }
    }

    fn near(record: &Record, measure: Measure, percentile: f64, millis: f64) {
        let found = record.percentile(measure, percentile).as_secs_f64() * 1e3;
        assert!(
            (found - millis).abs() <= millis * 0.002,
            "{measure:?}: {found}"
        );
    }

    #[test]
    fn a_stream_is_divided_into_its_times() {
        let mut record = Record::new().expect("a record");
        record.add(&sample(&[10, 20, 70, 80]));
        near(&record, Measure::FirstToken, 50.0, 10.0);
        near(&record, Measure::BetweenTokens, 50.0, 10.0);
        near(&record, Measure::BetweenTokens, 100.0, 50.0);
        near(&record, Measure::LongestStall, 50.0, 50.0);
        near(&record, Measure::PerToken, 50.0, 70.0 / 3.0);
        near(&record, Measure::EndToEnd, 50.0, 100.0);
        record.add(&sample(&[]));
        assert_eq!(
            (
                record.completed,
                record.histogram(Measure::FirstToken).len()
            ),
            (2, 1)
        );
    }

    #[test]
    fn records_are_merged_and_failures_stay_out_of_the_latencies() {
        let mut one = Record::new().expect("a record");
        one.add(&sample(&[10]));
        one.fail(Failure::Timeout);
        let mut other = Record::new().expect("a record");
        other.add(&sample(&[30]));
        other.fail(Failure::Timeout);
        other.fail(Failure::Status(500));
        one.merge(&other).expect("the same bounds");
        assert_eq!((one.completed, one.failed()), (2, 3));
        assert_eq!(one.failures[&Failure::Timeout], 2);
        assert_eq!(one.histogram(Measure::EndToEnd).len(), 2);
        near(&one, Measure::FirstToken, 100.0, 30.0);
    }
}

//! The results: a table for people, JSON for programs.

use std::fmt::{self, Write as _};
use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use serde_json::{Map, Value, json};

use crate::bench::options::Options;
use crate::bench::record::{Measure, Record};
use crate::bench::target::Target;
use crate::bench::{BenchError, html, seconds, write};

pub(super) const PERCENTILES: [(&str, f64); 6] = [
    ("p50", 50.0),
    ("p90", 90.0),
    ("p95", 95.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("max", 100.0),
];

/// A client that sends later than this measures itself.
const MAX_LAG: Duration = Duration::from_millis(5);
const MAX_BUSY: f64 = 0.9;

/// What was found out about each URL.
#[derive(Debug)]
pub struct Summary {
    /// One for each URL.
    pub sides: Vec<Side>,
    json_only: bool,
}

/// What was found out about one URL.
#[derive(Debug)]
pub struct Side {
    /// The URL.
    pub url: String,
    /// What was measured.
    pub record: Record,
    rate: Option<f64>,
}

impl Side {
    /// Streams a second.
    pub fn streams_per_second(&self) -> f64 {
        self.per_second(self.record.completed)
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / seconds(self.record.sending).max(1e-9)
    }

    /// Why these results describe the client rather than the server; none when they do not.
    pub fn saturated(&self) -> Option<String> {
        let record = &self.record;
        let lag = record.percentile(Measure::SendLag, 99.0);
        if record.busy > MAX_BUSY {
            let percent = record.busy * 100.0;
            return Some(format!(
                "the client was saturated: a sending thread was busy {percent:.0}% of the time; \
                 use more --threads, or less load"
            ));
        }
        if self.rate.is_some() && lag > MAX_LAG {
            return Some(format!(
                "the client was saturated: 1% of the requests were sent {} late or more",
                shown(lag)
            ));
        }
        let sent = record.completed + record.failed();
        if self.rate.is_some() && (sent as f64) < record.intended as f64 * 0.8 {
            return Some(format!(
                "the client was saturated: {sent} of {} requests were sent",
                record.intended
            ));
        }
        None
    }

    fn json(&self) -> Value {
        let record = &self.record;
        let mut latencies = Map::new();
        for measure in Measure::ALL {
            let histogram = record.histogram(measure);
            let mut of = Map::new();
            of.insert("count".into(), histogram.len().into());
            of.insert("mean_ms".into(), (histogram.mean() / 1e6).into());
            for (name, percentile) in PERCENTILES {
                let millis = seconds(record.percentile(measure, percentile)) * 1e3;
                of.insert(format!("{name}_ms"), millis.into());
            }
            latencies.insert(measure.name().into(), of.into());
        }
        let failures = record.failures.iter();
        let failures: Map<String, Value> = failures
            .map(|(failure, count)| (failure.to_string(), (*count).into()))
            .collect();
        json!({
            "url": self.url,
            "seconds": seconds(record.sending),
            "streams": record.completed,
            "failed": record.failed(),
            "failures": failures,
            "target_streams_per_second": self.rate,
            "streams_per_second": self.streams_per_second(),
            "chunks_per_second": self.per_second(record.chunks),
            "bytes_per_second": self.per_second(record.bytes),
            "client_busy": record.busy,
            "client_saturated": self.saturated(),
            "latencies": latencies,
        })
    }
}

impl Summary {
    pub(super) fn new(options: &Options, targets: &[Target], records: Vec<Record>) -> Self {
        let sides = targets.iter().zip(records).map(|(target, record)| Side {
            url: target.url.clone(),
            record,
            rate: options.rate,
        });
        Self {
            sides: sides.collect(),
            json_only: options.is_json_only(),
        }
    }

    /// Everything, for programs.
    pub fn to_json(&self) -> Value {
        let sides: Vec<Value> = self.sides.iter().map(Side::json).collect();
        let mut json = json!({"sides": sides});
        if let [a, b] = &self.sides[..] {
            let mut added = Map::new();
            for measure in Measure::ALL {
                let of = PERCENTILES.iter().map(|(name, percentile)| {
                    let added = added_by(a, b, measure, *percentile);
                    (format!("{name}_ms"), Value::from(added * 1e3))
                });
                added.insert(measure.name().into(), of.collect::<Map<_, _>>().into());
            }
            json["added_by_second"] = added.into();
        }
        json
    }

    pub(super) fn write_files(&self, options: &Options) -> Result<(), BenchError> {
        if let Some(path) = options.json.as_ref().filter(|_| !self.json_only) {
            write(path, format!("{:#}\n", self.to_json()).as_bytes())?;
        }
        if let Some(path) = &options.html {
            write(path, html::page(self).as_bytes())?;
        }
        if let Some(path) = &options.hdr {
            write(path, &self.interval_log()?)?;
        }
        Ok(())
    }

    /// Every histogram, tagged by the number of its URL and its name.
    fn interval_log(&self) -> Result<Vec<u8>, BenchError> {
        let failed = |error: &dyn fmt::Debug| BenchError::Histogram(format!("{error:?}"));
        let mut log = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        builder.with_max_value_divisor(1e6);
        let mut writer = builder
            .begin_log_with(&mut log, &mut serializer)
            .map_err(|error| failed(&error))?;
        for (number, side) in self.sides.iter().enumerate() {
            for measure in Measure::ALL {
                let tag = format!("{}_{}", measure.name(), number + 1);
                let tag = hdrhistogram::serialization::interval_log::Tag::new(&tag);
                let histogram = side.record.histogram(measure);
                writer
                    .write_histogram(histogram, Duration::ZERO, side.record.sending, tag)
                    .map_err(|error| failed(&error))?;
            }
        }
        drop(writer);
        Ok(log)
    }
}

/// What the second side takes longer, in seconds.
fn added_by(a: &Side, b: &Side, measure: Measure, percentile: f64) -> f64 {
    let of = |side: &Side| seconds(side.record.percentile(measure, percentile));
    of(b) - of(a)
}

/// For people.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.json_only {
            return write!(f, "{:#}", self.to_json());
        }
        for side in &self.sides {
            side.fmt(f)?;
        }
        if let [a, b] = &self.sides[..] {
            writeln!(f, "{} adds to {}", b.url, a.url)?;
            head(f)?;
            for measure in Measure::ALL {
                write!(f, "  {:<17}", measure.name())?;
                for (_, percentile) in PERCENTILES {
                    let added = added_by(a, b, measure, percentile);
                    let sign = if added < 0.0 { '-' } else { '+' };
                    let time = shown(Duration::from_secs_f64(added.abs()));
                    write!(f, "{:>11}", format!("{sign}{time}"))?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = &self.record;
        writeln!(f, "{}", self.url)?;
        let mut rate = format!("{:.1} streams/s", self.streams_per_second());
        if let Some(target) = self.rate {
            // Writing to a String cannot fail.
            let _ = write!(rate, " of {target:.1} aimed at");
        }
        writeln!(
            f,
            "  {} streams, {} failed, in {:.1} s: {rate}, {:.0} chunks/s, {:.1} kB/s",
            record.completed,
            record.failed(),
            seconds(record.sending),
            self.per_second(record.chunks),
            self.per_second(record.bytes) / 1e3,
        )?;
        for (failure, count) in &record.failures {
            writeln!(f, "  {count} failed: {failure}")?;
        }
        if let Some(warning) = self.saturated() {
            writeln!(f, "  WARNING: {warning}")?;
        }
        head(f)?;
        for measure in Measure::ALL {
            write!(f, "  {:<17}", measure.name())?;
            for (_, percentile) in PERCENTILES {
                write!(f, "{:>11}", shown(record.percentile(measure, percentile)))?;
            }
            writeln!(f)?;
        }
        writeln!(f)
    }
}

fn head(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "  {:<17}", "")?;
    for (name, _) in PERCENTILES {
        write!(f, "{name:>11}")?;
    }
    writeln!(f)
}

/// A time with three digits or so.
pub(super) fn shown(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        m if m < 1_000.0 => format!("{m:.0} us"),
        m if m < 10_000.0 => format!("{:.2} ms", m / 1e3),
        m if m < 1_000_000.0 => format!("{:.1} ms", m / 1e3),
        m => format!("{:.2} s", m / 1e6),
    }
}

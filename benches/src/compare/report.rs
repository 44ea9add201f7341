//! Results: a line of text, and a line of JSON in a file.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::error::{Error, Result, While};
use crate::lab::load_average;
use crate::spread::Spread;

/// The target for a median.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// No target.
    None,
}

impl Target {
    fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(value >= least),
            Self::AtMost(most) => Some(value <= most),
            Self::None => None,
        }
    }
}

/// The unit of a result, which determines its format.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Ratio,
    Microseconds,
    Milliseconds,
    Bytes,
    Calls,
    Streams,
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{value:.3}"),
            Self::Microseconds => format!("{value:.1} µs"),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Bytes => format!("{value:.0} B"),
            Self::Calls => format!("{value:.2} calls"),
            Self::Streams => format!("{value:.0} streams"),
        }
    }
}

/// The result of one comparison.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub name: String,
    pub unit: Unit,
    pub value: Spread,
    pub target: Target,
    /// All measured values by name, in the order of the rounds.
    pub measured: BTreeMap<String, Vec<f64>>,
    /// A description of the values as text.
    #[serde(skip)]
    pub note: String,
}

#[derive(Serialize)]
struct Line<'a> {
    time: u64,
    load_average: f64,
    #[serde(flatten)]
    finding: &'a Finding,
    met: Option<bool>,
}

/// The destination of results.
pub struct Report {
    file: PathBuf,
    missed: Vec<String>,
}

impl Report {
    pub fn new(file: PathBuf) -> Result<Self> {
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).while_doing("making the directory of the results")?;
        }
        let missed = Vec::new();
        Ok(Self { file, missed })
    }

    /// The comparisons whose target was missed.
    pub fn missed(&self) -> &[String] {
        &self.missed
    }

    #[expect(clippy::print_stdout, reason = "the program's output")]
    pub fn add(&mut self, finding: &Finding) -> Result<()> {
        let Spread { median, min, max } = finding.value;
        let write = |value| finding.unit.write(value);
        let range = format!("{} [{} – {}]", write(median), write(min), write(max));
        let target = match finding.target {
            Target::AtLeast(least) => format!("target ≥ {}", write(least)),
            Target::AtMost(most) => format!("target ≤ {}", write(most)),
            Target::None => "no target".to_owned(),
        };
        let met = finding.target.is_met(median);
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        println!("{:<44} {range:<38} {target:<18} {verdict}", finding.name);
        if !finding.note.is_empty() {
            println!("    {}", finding.note);
        }
        if met == Some(false) {
            self.missed.push(finding.name.clone());
        }
        self.keep(finding, met)
    }

    fn keep(&self, finding: &Finding, met: Option<bool>) -> Result<()> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let line = Line {
            time: time.map_or(0, |time| time.as_secs()),
            load_average: load_average(),
            finding,
            met,
        };
        let mut text = serde_json::to_string(&line).map_err(|source| Error::Json {
            what: "a result",
            source,
        })?;
        text.push('\n');
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.file);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.while_doing(format!("writing {}", self.file.display()))
    }
}

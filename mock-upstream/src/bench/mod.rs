//! A load generator for streaming endpoints.
//!
//! Latencies are measured from the moment at which a request was *intended* to be sent: a server
//! that stalls cannot hide that by keeping the next requests from being sent. Failures are counted
//! by their class and kept out of the latencies.

mod client;
mod events;
mod html;
mod load;
mod options;
mod record;
mod report;
mod target;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

pub use options::{Arrivals, Options};
pub use record::{Failure, Measure, Record};
pub use report::Summary;

use crate::remote::RemoteError;
use load::Load;
use target::Target;

/// A load that cannot be generated.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A URL that leads nowhere.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A header that is none.
    #[error("`{0}` is no header: write 'name: value'")]
    Header(String),
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The system is short of something.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// Why not.
        error: io::Error,
    },
    /// Measurements cannot be kept.
    #[error("a histogram: {0}")]
    Histogram(String),
}

/// Measures one URL, or two in turn, and writes what was asked for. Progress goes to `progress`.
pub fn run(options: &Options, progress: &mut dyn Write) -> Result<Summary, BenchError> {
    let urls = options.urls();
    let targets: Result<Vec<Target>, _> =
        urls.iter().map(|url| Target::new(url, options)).collect();
    let targets = targets?;
    let mut records = Vec::new();
    for _ in &targets {
        records.push(Record::new()?);
    }
    let rounds = options.rounds(targets.len());
    let time = options.duration / rounds.max(1);
    for round in 0..rounds {
        // A B, B A, A B, …: a drift of the machine hits both.
        let order: Vec<usize> = match round % 2 {
            0 => (0..targets.len()).collect(),
            _ => (0..targets.len()).rev().collect(),
        };
        for index in order {
            let load = Load::new(options, &targets[index], time, round);
            records[index].merge(&load.run(progress)?)?;
        }
    }
    let summary = Summary::new(options, &targets, records);
    summary.write_files(options)?;
    Ok(summary)
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> BenchError {
    let what = what.into();
    move |error| BenchError::System { what, error }
}

fn write(path: &std::path::Path, bytes: &[u8]) -> Result<(), BenchError> {
    std::fs::write(path, bytes).map_err(|error| BenchError::File {
        path: path.to_owned(),
        error,
    })
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

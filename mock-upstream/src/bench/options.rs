//! Flags of `mock-upstream bench`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::duration::parse_duration;

/// Intervals between the requests of an open loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// At equal intervals.
    Constant,
    /// At random intervals, as of independent users (a Poisson process).
    Poisson,
}

/// The load, its targets, and the output.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Base URL, such as http://127.0.0.1:8080/v1 or https://api.openai.com/v1
    #[arg(value_name = "URL", required_unless_present = "compare")]
    pub url: Option<String>,

    /// Measures two base URLs alternately, and reports how much longer the second one takes
    #[arg(long, num_args = 2, value_names = ["URL_A", "URL_B"], conflicts_with = "url")]
    pub compare: Option<Vec<String>>,

    /// Closed loop: number of streams; each sends its next request when the previous one has ended
    #[arg(long, short = 'c', value_name = "NUMBER", default_value = "64")]
    pub streams: NonZeroU32,

    /// Open loop: requests per second, sent whether or not responses arrive
    #[arg(long, short = 'r', value_name = "NUMBER", value_parser = rate)]
    pub rate: Option<f64>,

    /// Intervals between the requests of an open loop
    #[arg(long, value_enum, default_value = "poisson")]
    pub arrivals: Arrivals,

    /// How long requests are sent; to each URL with --compare
    #[arg(long, short = 'd', value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub duration: Duration,

    /// Time at the start whose requests are not counted; in addition to --duration
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_duration)]
    pub warmup: Duration,

    /// How often --compare measures both URLs
    #[arg(long, value_name = "NUMBER", default_value = "4")]
    pub rounds: NonZeroU32,

    /// Timeout of a request
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Path below the base URL
    #[arg(long, default_value = "chat/completions")]
    pub path: String,

    /// Model of the built-in request
    #[arg(long, default_value = "gpt-4o-mini")]
    pub model: String,

    /// File with the request body, instead of the built-in one
    #[arg(long, value_name = "FILE")]
    pub body: Option<PathBuf>,

    /// Request header, such as 'X-Mock-Words: 64'; repeatable
    #[arg(long, short = 'H', value_name = "HEADER")]
    pub header: Vec<String>,

    /// Environment variable with the API key
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    pub key_env: String,

    /// Threads, each with an equal share of the load
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub threads: NonZeroUsize,

    /// Seed of the random intervals
    #[arg(long, default_value = "1")]
    pub seed: u64,

    /// Writes the results as JSON; - prints them instead of the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Writes a report with plots, in one HTML file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Writes all histograms as an HdrHistogram interval log, which other tools can merge
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,

    /// No progress on standard error
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match rate.is_finite() && rate > 0.0 {
        true => Ok(rate),
        false => Err("a rate is more than 0".to_owned()),
    }
}

impl Options {
    pub(super) fn urls(&self) -> Vec<&str> {
        let both = self.compare.iter().flatten().map(String::as_str);
        self.url.as_deref().into_iter().chain(both).collect()
    }

    /// One URL is measured in one go.
    pub(super) fn rounds(&self, targets: usize) -> u32 {
        if targets > 1 { self.rounds.get() } else { 1 }
    }

    pub(super) fn is_json_only(&self) -> bool {
        self.json
            .as_ref()
            .is_some_and(|path| path.as_os_str() == "-")
    }
}

//! `mock-upstream bench`: measures the latency of tokens as a client.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Result, While};
use crate::lab::Lab;
use crate::site::CLIENT_TOKEN;

/// The output of the tool.
#[derive(Debug, Deserialize)]
pub struct BenchResult {
    pub sides: Vec<Side>,
}

/// The results for one URL.
#[derive(Debug, Deserialize)]
pub struct Side {
    url: String,
    pub failed: u64,
    failures: BTreeMap<String, u64>,
    pub streams_per_second: f64,
    client_saturated: Option<String>,
    /// Latencies in milliseconds, by measure and percentile.
    latencies: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Side {
    /// A latency in milliseconds.
    pub fn latency(&self, measure: &str, percentile: &str) -> f64 {
        let measure = self.latencies.get(measure);
        let value = measure.and_then(|of| of.get(&format!("{percentile}_ms")));
        value.copied().unwrap_or(f64::NAN)
    }
}

/// Runs the tool on the cores of the clients. Failed streams are an error.
pub fn bench(lab: &Lab, urls: &[String], args: &[&str]) -> Result<BenchResult> {
    let reported = try_bench(lab, urls, args)?;
    match reported.sides.iter().find(|side| side.failed > 0) {
        Some(side) => Err(Error::Answer {
            path: side.url.clone(),
            why: format!("failed: {:?}", side.failures),
        }),
        None => Ok(reported),
    }
}

/// The same for servers that are not ours: failed streams are only reported.
#[expect(clippy::print_stdout, reason = "the program's output")]
pub fn try_bench(lab: &Lab, urls: &[String], args: &[&str]) -> Result<BenchResult> {
    let mut command = lab.cores.for_others(&lab.mock);
    command.args(["bench", "--quiet", "--json", "-"]);
    if urls.len() == 2 {
        command.arg("--compare");
    }
    let output = command
        .args(urls)
        .args(args)
        .env("OPENAI_API_KEY", CLIENT_TOKEN)
        .output()
        .while_doing("running mock-upstream bench")?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        let program = "mock-upstream bench";
        return Err(Error::Ended { program, output });
    }
    let reported: BenchResult =
        serde_json::from_slice(&output.stdout).map_err(|source| Error::Json {
            what: "what mock-upstream bench reports",
            source,
        })?;
    for side in &reported.sides {
        if let Some(why) = &side.client_saturated {
            println!("    {}: {why}", side.url);
        }
    }
    Ok(reported)
}

//! Load with wrk.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result, While};
use crate::lab::Lab;
use crate::stream::BODY;

/// A response that takes longer is an error, not the effect of a busy machine.
const TIMEOUT: &str = "10s";

/// The results that wrk's script prints.
#[derive(Clone, Debug, Deserialize)]
pub struct Tally {
    pub requests: u32,
    /// The duration in microseconds.
    pub elapsed: f64,
    /// Failed connections, reads and writes, statuses above 399, timeouts.
    errors: [u64; 5],
    /// Of complete responses, in microseconds.
    pub p50: f64,
    pub p99: f64,
}

impl Tally {
    pub fn per_second(&self) -> f64 {
        f64::from(self.requests) * 1e6 / self.elapsed
    }
}

/// Runs wrk in one thread. Any error of wrk or of a request is an error.
pub fn run(lab: &Lab, url: &str, token: &str, connections: usize, seconds: u64) -> Result<Tally> {
    run_script(lab, url, &script(token), connections, seconds)
}

/// The same with the requests of a script.
pub fn run_script(
    lab: &Lab,
    url: &str,
    script: &str,
    connections: usize,
    seconds: u64,
) -> Result<Tally> {
    let dir = tempfile::tempdir().while_doing("a directory for wrk")?;
    let file = dir.path().join("wrk.lua");
    let text = format!("{script}\n{DONE}");
    fs::write(&file, text).while_doing("writing wrk's script")?;
    let output = command(lab, &file, url, connections, seconds)
        .output()
        .while_doing("running wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().next_back().unwrap_or_default();
    if !output.status.success() || !last.starts_with('{') {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Wrk(format!("{text}{errors}")));
    }
    let tally: Tally = serde_json::from_str(last).map_err(|source| Error::Json {
        what: "wrk's tally",
        source,
    })?;
    if tally.requests == 0 || tally.errors != [0; 5] {
        return Err(Error::Wrk(format!("{url}: errors: {text}")));
    }
    Ok(tally)
}

fn command(
    lab: &Lab,
    script: &Path,
    url: &str,
    connections: usize,
    seconds: u64,
) -> std::process::Command {
    let mut command = lab.cores.for_others("wrk");
    command
        .args(["-t", "1", "-c", &connections.to_string()])
        .args(["-d", &seconds.to_string(), "--timeout", TIMEOUT, "-s"])
        .arg(script)
        .arg(url);
    command
}

fn script(token: &str) -> String {
    format!(
        r#"wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {token}"
wrk.body = [==[{BODY}]==]
"#
    )
}

const DONE: &str = r#"done = function(summary, latency)
   local e = summary.errors
   io.write(string.format(
      '{"requests":%d,"elapsed":%d,"errors":[%d,%d,%d,%d,%d],"p50":%d,"p99":%d}\n',
      summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout,
      latency:percentile(50), latency:percentile(99)))
end
"#;

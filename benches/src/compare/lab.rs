//! The programs and settings of the comparisons.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cores::Cores;
use crate::error::{Error, Result};

/// The programs, and the number and duration of measurements.
#[derive(Clone, Debug)]
pub struct Lab {
    pub nginx: PathBuf,
    pub module: PathBuf,
    /// The module built from older code, if `--old` was given.
    pub old: Option<PathBuf>,
    pub mock: PathBuf,
    /// The virtual environment with LiteLLM.
    pub litellm: PathBuf,
    pub cores: Cores,
    /// The number of rounds for each side.
    pub rounds: usize,
    /// The duration of a round.
    pub seconds: u64,
}

impl Lab {
    /// Checks that all programs exist, except wrk, whose absence shows when it is run.
    pub fn check(&self) -> Result<()> {
        let files = [&self.nginx, &self.module, &self.mock];
        for file in files.into_iter().chain(&self.old) {
            if !file.exists() {
                return Err(Error::Missing(file.display().to_string()));
            }
        }
        Ok(())
    }
}

/// A description of the processor, the kernel and nginx.
pub fn machine(nginx: &Path) -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1));
    let cores = info.lines().filter(|line| line.starts_with("processor"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = Command::new(nginx).arg("-v").output();
    let version = version.map(|output| output.stderr).unwrap_or_default();
    let version = String::from_utf8_lossy(&version).replace("nginx version: ", "");
    format!(
        "{}, {} cores, Linux {}, {}",
        model.unwrap_or("unknown processor"),
        cores.count(),
        kernel.trim(),
        version.trim()
    )
}

/// The load average of the last minute. Before the start, any load means noise.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.unwrap_or(f64::NAN)
}

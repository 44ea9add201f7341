//! nginx's error log.

use std::fs;
use std::path::PathBuf;

use crate::wait::wait_until;

/// The error log of one nginx.
#[derive(Debug, Clone)]
pub struct ErrorLog {
    path: PathBuf,
}

/// What no error log may hold, whatever the test does.
const FAULTS: [&str; 8] = [
    "[alert]",
    "[emerg]",
    "[crit]",
    "exited on signal",
    "panicked",
    "AddressSanitizer",
    "runtime error:",
    "== ERROR SUMMARY:",
];
/// What valgrind says when there is no fault.
const NO_FAULT: &str = "ERROR SUMMARY: 0 errors";

impl ErrorLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// All of it.
    pub fn text(&self) -> String {
        fs::read(&self.path).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Waits until a line holds `needle`.
    #[track_caller]
    pub fn wait_for(&self, needle: &str) {
        wait_until(&format!("the error log says {needle:?}"), || {
            self.text().contains(needle)
        });
    }

    /// The lines that report a fault, except those that hold one of `expected`.
    pub(crate) fn faults(&self, expected: &[&str]) -> Vec<String> {
        let is_fault = |line: &str| {
            FAULTS.iter().any(|fault| line.contains(fault))
                && !line.contains(NO_FAULT)
                && !expected.iter().any(|expected| line.contains(expected))
        };
        self.text()
            .lines()
            .filter(|line| is_fault(line))
            .map(redacted)
            .collect()
    }

    /// The last lines, without keys.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let text = self.text();
        // The harness asks for the gauges again and again, each time on a connection of its own.
        let reported = |line: &&str| !line.ends_with("closed keepalive connection");
        let all: Vec<&str> = text.lines().filter(reported).collect();
        let tail = &all[all.len().saturating_sub(lines)..];
        tail.iter().map(|line| redacted(line) + "\n").collect()
    }
}

/// The line with every OpenAI key replaced: if the module wrote one, a test report need not
/// repeat it.
fn redacted(line: &str) -> String {
    let mut parts = line.split("sk-");
    let mut safe = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        safe.push_str("sk-…");
        safe.push_str(part.trim_start_matches(|c: char| c.is_alphanumeric() || c == '-'));
    }
    safe
}

//! Counts the system calls of a process with strace.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::error::{Error, Result, While};
use crate::process::{Process, await_that};

/// A process under strace, which slows it down considerably.
pub struct Strace {
    process: Process,
    dir: TempDir,
}

impl Strace {
    pub fn attach(pid: u32) -> Result<Self> {
        let dir = tempfile::tempdir().while_doing("a directory for strace")?;
        let output = dir.path().join("output");
        let file = File::create(&output).while_doing("the output of strace")?;
        let child = Command::new("strace")
            .args(["-f", "-c", "-U", "calls,name", "-p", &pid.to_string(), "-o"])
            .arg(dir.path().join("counts"))
            .stdin(Stdio::null())
            .stderr(file)
            .spawn()
            .while_doing("starting strace")?;
        let mut strace = Self {
            process: Process::new("strace", child),
            dir,
        };
        await_that("strace", || {
            strace.process.check(&output)?;
            traced(pid)
        })?;
        Ok(strace)
    }

    /// The number of calls by name.
    pub fn finish(mut self) -> Result<BTreeMap<String, u64>> {
        self.process.signal(Signal::INT);
        self.process.stop();
        let path = self.dir.path().join("counts");
        let text = fs::read_to_string(&path).while_doing("reading what strace counted")?;
        let counts: BTreeMap<String, u64> = text.lines().filter_map(count).collect();
        if counts.is_empty() {
            return Err(Error::Missing("a call counted by strace".to_owned()));
        }
        Ok(counts)
    }
}

fn traced(pid: u32) -> Result<bool> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).while_doing(&path)?;
    let tracer = status.lines().find_map(|l| l.strip_prefix("TracerPid:"));
    Ok(tracer.is_some_and(|pid| pid.trim() != "0"))
}

/// Parses a line such as `  1234 epoll_wait`. `None` for the heading, the rules and the total.
fn count(line: &str) -> Option<(String, u64)> {
    let (calls, name) = line.trim().split_once(char::is_whitespace)?;
    let name = name.trim();
    (name != "total").then_some((name.to_owned(), calls.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_summary_that_are_calls() {
        let text = "    calls syscall\n--------- ----------------\n   101214 sendto\n      \
                    73 epoll_wait\n--------- ----------------\n   101287 total\n";
        let counts: Vec<_> = text.lines().filter_map(count).collect();
        assert_eq!(
            counts,
            [("sendto".into(), 101_214), ("epoll_wait".into(), 73)]
        );
    }
}

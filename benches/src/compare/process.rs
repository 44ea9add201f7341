//! Child processes: stopped when dropped, and what the kernel knows of them.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, id};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result, While};

const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends with its owner.
pub struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    pub fn new(name: &'static str, child: Child) -> Self {
        Self { name, child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), Ok(None)) = (pid, self.child.try_wait()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until the process listens; what it wrote to `output` is the reason when it ends.
    pub fn await_port(&mut self, port: u16, output: &Path) -> Result<()> {
        await_that("listening", || {
            self.check(output)?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
        })
    }

    /// An error if it has ended, with what it wrote to `output`.
    pub fn check(&mut self, output: &Path) -> Result<()> {
        match self.child.try_wait() {
            Ok(Some(_)) => Err(Error::Ended {
                program: self.name,
                output: fs::read_to_string(output).unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }

    /// Asks the process to end, and waits for it.
    pub fn stop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.signal(Signal::TERM);
        let ended = await_that("the end", || Ok(!matches!(self.child.try_wait(), Ok(None))));
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks again and again until `done`.
pub fn await_that(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !done()? {
        if start.elapsed() > PATIENCE {
            return Err(Error::Late {
                what: what.to_owned(),
                patience: PATIENCE,
            });
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A port that nobody listens on, below those that the kernel gives to outgoing connections.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (id() % 10_000) as u16;
    (0..1_000)
        .map(|_| 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .ok_or_else(|| Error::Missing("a free port of 127.0.0.1".to_owned()))
}

/// The time that a process has spent on a core, whoever else wanted that core.
pub fn time_on_core(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/schedstat");
    let text = fs::read_to_string(&path).while_doing(&path)?;
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok());
    nanos
        .map(Duration::from_nanos)
        .ok_or(Error::Missing(format!("the time in {path}")))
}

/// Its memory, shared pages counted by their share, in bytes.
pub fn memory(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).while_doing(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u32>().ok());
    kib.map(|kib| f64::from(kib) * 1024.0)
        .ok_or(Error::Missing(format!("Pss in {path}")))
}

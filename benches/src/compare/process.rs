//! Child processes, which are stopped when dropped, and their resource usage.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio, id};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::error::{Error, Result, While};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A process that is stopped when the value is dropped.
pub struct Process {
    name: &'static str,
    child: Child,
}

/// A server with a temporary directory.
pub struct Server {
    pub process: Process,
    pub port: u16,
    pub dir: TempDir,
}

impl Server {
    /// Starts the server with the command that `command` makes for a directory and a port, and
    /// waits until it listens.
    pub fn start(
        name: &'static str,
        patience: Duration,
        command: impl FnOnce(&Path, u16) -> Result<Command>,
    ) -> Result<Self> {
        let dir = tempfile::tempdir().while_doing(format!("a directory for {name}"))?;
        let port = free_port()?;
        let output = dir.path().join("output");
        let file = File::create(&output).while_doing(format!("the output of {name}"))?;
        let too = file.try_clone().while_doing("a file descriptor")?;
        let child = command(dir.path(), port)?
            .stdin(Stdio::null())
            .stdout(too)
            .stderr(file)
            .spawn()
            .while_doing(format!("starting {name}"))?;
        let mut process = Process::new(name, child);
        await_for(patience, "listening", || {
            process.check(&output)?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
        })?;
        Ok(Self { process, port, dir })
    }
}

impl Process {
    pub fn new(name: &'static str, child: Child) -> Self {
        Self { name, child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), Ok(None)) = (pid, self.child.try_wait()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Fails if the process has ended; the error contains its output.
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

/// Calls `done` repeatedly until it returns `true`.
pub fn await_that(what: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
    await_for(PATIENCE, what, done)
}

fn await_for(patience: Duration, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !done()? {
        if start.elapsed() > patience {
            return Err(Error::Late {
                what: what.to_owned(),
                patience,
            });
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A port without a listener, below the range that the kernel uses for outgoing connections.
fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (id() % 10_000) as u16;
    (0..1_000)
        .map(|_| 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .ok_or_else(|| Error::Missing("a free port of 127.0.0.1".to_owned()))
}

/// The time that the threads of a process have spent on a core. Other processes on that core do not
/// matter.
pub fn time_on_core(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/task");
    let mut time = Duration::ZERO;
    for thread in fs::read_dir(&path).while_doing(&path)? {
        let path = thread.while_doing(&path)?.path().join("schedstat");
        let text = fs::read_to_string(&path).while_doing(path.display().to_string())?;
        let nanos = text.split(' ').next().and_then(|n| n.parse().ok());
        let nanos = nanos.ok_or_else(|| Error::Missing(format!("the time in {}", path.display())));
        time += Duration::from_nanos(nanos?);
    }
    Ok(time)
}

/// The memory of a process in bytes; shared pages count in proportion (PSS).
pub fn memory(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).while_doing(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u32>().ok());
    kib.map(|kib| f64::from(kib) * 1024.0)
        .ok_or(Error::Missing(format!("Pss in {path}")))
}

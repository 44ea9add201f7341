//! Redis servers that keep nothing on disk.

use std::fs::File;
use std::process::Stdio;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::error::{Result, While};
use crate::lab::Lab;
use crate::process::{Process, free_port};

/// A server.
pub struct Redis {
    process: Process,
    port: u16,
    _dir: TempDir,
}

impl Redis {
    /// Starts so many servers, which know nothing of one another.
    pub fn group(lab: &Lab, count: usize) -> Result<Vec<Self>> {
        (0..count).map(|_| Self::start(lab)).collect()
    }

    /// Starts one.
    pub fn start(lab: &Lab) -> Result<Self> {
        let dir = tempfile::tempdir().while_doing("a directory for redis-server")?;
        let output = dir.path().join("output");
        let file = File::create(&output).while_doing("the output of redis-server")?;
        let port = free_port()?;
        let child = lab
            .cores
            .for_stores("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string(), "--dir"])
            .arg(dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(file)
            .spawn()
            .while_doing("starting redis-server")?;
        let mut process = Process::new("redis-server", child);
        process.await_port(port, &output)?;
        Ok(Self {
            process,
            port,
            _dir: dir,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it as it is: connections stay and are made, nothing is answered.
    pub fn hang(&mut self) {
        self.process.signal(Signal::STOP);
    }
}

/// One that hangs could not be asked to end.
impl Drop for Redis {
    fn drop(&mut self) {
        self.process.signal(Signal::CONT);
    }
}

//! Redis servers without persistence.

use rustix::process::Signal;

use crate::error::Result;
use crate::lab::Lab;
use crate::process::{PATIENCE, Server};

/// A running server.
pub struct Redis(Server);

impl Redis {
    /// Starts `count` independent servers.
    pub fn group(lab: &Lab, count: usize) -> Result<Vec<Self>> {
        (0..count).map(|_| Self::start(lab)).collect()
    }

    /// Starts a server.
    pub fn start(lab: &Lab) -> Result<Self> {
        let server = Server::start("redis-server", PATIENCE, |dir, port| {
            let mut command = lab.cores.for_stores("redis-server");
            command
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .args(["--port", &port.to_string(), "--dir"])
                .arg(dir);
            Ok(command)
        });
        server.map(Self)
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Stops the process: connections remain possible, but nothing is answered.
    pub fn hang(&mut self) {
        self.0.process.signal(Signal::STOP);
    }
}

/// Continues a stopped process, so that it can be terminated.
impl Drop for Redis {
    fn drop(&mut self) {
        self.0.process.signal(Signal::CONT);
    }
}

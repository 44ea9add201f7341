//! Redis servers that keep nothing on disk.

use rustix::process::Signal;

use crate::error::Result;
use crate::lab::Lab;
use crate::process::{PATIENCE, Server};

/// A server.
pub struct Redis(Server);

impl Redis {
    /// Starts so many servers, which know nothing of one another.
    pub fn group(lab: &Lab, count: usize) -> Result<Vec<Self>> {
        (0..count).map(|_| Self::start(lab)).collect()
    }

    /// Starts one.
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

    /// Stops it as it is: connections stay and are made, nothing is answered.
    pub fn hang(&mut self) {
        self.0.process.signal(Signal::STOP);
    }
}

/// One that hangs could not be asked to end.
impl Drop for Redis {
    fn drop(&mut self) {
        self.0.process.signal(Signal::CONT);
    }
}

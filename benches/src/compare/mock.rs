//! The upstream of both sides. It also counts how many requests of each key are in progress.

use std::collections::HashMap;
use std::process::Command;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::lab::Lab;
use crate::process::{PATIENCE, Server, await_that};

pub struct Mock(Server);

/// What the mock has counted for one key.
#[derive(Debug, Deserialize)]
pub struct KeySeen {
    pub requests: u64,
    pub in_flight: u64,
    pub max_in_flight: u64,
}

/// What the mock has counted since it was reset.
#[derive(Debug, Deserialize)]
pub struct Seen {
    pub keys: HashMap<String, KeySeen>,
}

impl Seen {
    pub fn requests(&self) -> u64 {
        self.keys.values().map(|key| key.requests).sum()
    }

    /// The maximum number of concurrent requests of a key.
    pub fn most_at_once(&self) -> u64 {
        let most = self.keys.values().map(|key| key.max_in_flight).max();
        most.unwrap_or(0)
    }

    fn is_idle(&self) -> bool {
        self.keys.values().all(|key| key.in_flight == 0)
    }
}

impl Mock {
    /// Starts the mock without a delay between chunks, on the cores of the clients.
    pub fn start(lab: &Lab) -> Result<Self> {
        // As little work as possible: the mock must not be the bottleneck.
        let args = ["--delay", "0", "--set", "journal=0"];
        Self::with(lab.cores.for_others(&lab.mock), &args)
    }

    /// Starts the mock on nginx's core, to measure the mock itself.
    pub fn measured(lab: &Lab, delay: &str) -> Result<Self> {
        Self::with(lab.cores.for_nginx(&lab.mock), &["--delay", delay])
    }

    fn with(mut command: Command, args: &[&str]) -> Result<Self> {
        let server = Server::start("mock-upstream", PATIENCE, |_, port| {
            command
                .args(["--threads", "1", "--set", "fields=minimal", "--listen"])
                .arg(format!("127.0.0.1:{port}"))
                .args(args);
            Ok(command)
        });
        server.map(Self)
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    pub fn pid(&self) -> u32 {
        self.0.process.pid()
    }

    /// Waits until no request is in progress, then resets the counters.
    pub fn reset(&self) -> Result<()> {
        self.await_idle()?;
        let url = format!("http://127.0.0.1:{}/__mock/reset", self.port());
        let sent = ureq::post(&url).send_empty();
        sent.map(drop).map_err(|e| http(url, e))
    }

    /// The counters, once no request is in progress.
    pub fn seen(&self) -> Result<Seen> {
        self.await_idle()?;
        self.stats()
    }

    fn await_idle(&self) -> Result<()> {
        let what = format!("an idle mock (process {})", self.pid());
        await_that(&what, || Ok(self.stats()?.is_idle()))
    }

    fn stats(&self) -> Result<Seen> {
        let url = format!("http://127.0.0.1:{}/__mock/stats", self.port());
        let text = ureq::get(&url)
            .call()
            .and_then(|mut answer| answer.body_mut().read_to_string())
            .map_err(|e| http(url, e))?;
        serde_json::from_str(&text).map_err(|source| Error::Json {
            what: "the mock's statistics",
            source,
        })
    }
}

fn http(url: String, source: ureq::Error) -> Error {
    Error::Http {
        url,
        source: Box::new(source),
    }
}

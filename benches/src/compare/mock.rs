//! The upstream of both sides, which also witnesses how many requests a key had at once.

use std::collections::HashMap;
use std::fs::File;
use std::process::Stdio;

use serde::Deserialize;
use tempfile::TempDir;

use crate::error::{Error, Result, While};
use crate::lab::Lab;
use crate::process::{Process, await_that, free_port};

pub struct Mock {
    process: Process,
    port: u16,
    _dir: TempDir,
}

/// What the mock saw of one key.
#[derive(Debug, Deserialize)]
pub struct KeySeen {
    pub requests: u64,
    pub in_flight: u64,
    pub max_in_flight: u64,
}

/// What the mock saw since it was reset.
#[derive(Debug, Deserialize)]
pub struct Seen {
    pub keys: HashMap<String, KeySeen>,
}

impl Seen {
    pub fn requests(&self) -> u64 {
        self.keys.values().map(|key| key.requests).sum()
    }

    /// The most requests that any key had at once.
    pub fn most_at_once(&self) -> u64 {
        let most = self.keys.values().map(|key| key.max_in_flight).max();
        most.unwrap_or(0)
    }

    fn is_idle(&self) -> bool {
        self.keys.values().all(|key| key.in_flight == 0)
    }
}

impl Mock {
    /// Starts the mock with no delay between chunks.
    pub fn start(lab: &Lab) -> Result<Self> {
        let dir = tempfile::tempdir().while_doing("a directory for the mock")?;
        let output = dir.path().join("output");
        let file = File::create(&output).while_doing("the mock's output")?;
        let port = free_port()?;
        let child = lab
            .cores
            .for_others(&lab.mock)
            // As short as an answer gets: the mock must not be what is measured.
            .args(["--delay", "0", "--threads", "1"])
            .args(["--set", "fields=minimal", "--set", "journal=0", "--listen"])
            .arg(format!("127.0.0.1:{port}"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .while_doing("starting the mock")?;
        let mut process = Process::new("mock-upstream", child);
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

    /// Waits until no request is in flight, and starts counting anew.
    pub fn reset(&self) -> Result<()> {
        self.await_idle()?;
        let url = format!("http://127.0.0.1:{}/__mock/reset", self.port);
        let sent = ureq::post(&url).send_empty();
        sent.map(drop).map_err(|e| http(url, e))
    }

    /// What it saw, once no request is in flight any more.
    pub fn seen(&self) -> Result<Seen> {
        self.await_idle()?;
        self.stats()
    }

    fn await_idle(&self) -> Result<()> {
        let what = format!("an idle mock (process {})", self.process.pid());
        await_that(&what, || Ok(self.stats()?.is_idle()))
    }

    fn stats(&self) -> Result<Seen> {
        let url = format!("http://127.0.0.1:{}/__mock/stats", self.port);
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

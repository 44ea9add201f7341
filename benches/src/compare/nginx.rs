//! An nginx with one worker.

use std::fs::{self, File};
use std::process::Stdio;

use tempfile::TempDir;

use crate::error::{Error, Result, While};
use crate::lab::Lab;
use crate::mock::Mock;
use crate::process::{Process, await_that, free_port};
use crate::site::{self, CLIENT_TOKEN, CLIENT_TOKEN_VARIABLE, Route};

pub struct Nginx {
    process: Process,
    worker: u32,
    port: u16,
    dir: TempDir,
}

impl Nginx {
    /// Starts it with a location for each route.
    pub fn start(lab: &Lab, mock: &Mock, routes: &[Route]) -> Result<Self> {
        let dir = tempfile::tempdir().while_doing("a directory for nginx")?;
        let port = free_port()?;
        let text = site::config(routes, &lab.module, mock.port(), port, dir.path())?;
        let config = dir.path().join("nginx.conf");
        fs::write(&config, text).while_doing("writing nginx.conf")?;
        let output = dir.path().join("output");
        let file = File::create(&output).while_doing("nginx's output")?;
        let child = lab
            .cores
            .for_nginx(&lab.nginx)
            .arg("-p")
            .arg(dir.path())
            .args(["-e", "error.log", "-c"])
            .arg(&config)
            // Also for the variable NGINX, which means something else to nginx itself.
            .env_clear()
            .env(CLIENT_TOKEN_VARIABLE, CLIENT_TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .while_doing("starting nginx")?;
        let mut process = Process::new("nginx", child);
        process.await_port(port, &output)?;
        let worker = worker_of(process.pid())?;
        Ok(Self {
            process,
            worker,
            port,
            dir,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The worker's process id.
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Waits until it has dealt with what clients left behind when they went.
    pub fn await_idle(&self) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/status", self.port);
        await_that("an idle nginx", || {
            let status = ureq::get(&url)
                .call()
                .and_then(|mut answer| answer.body_mut().read_to_string())
                .map_err(|source| Error::Http {
                    url: url.clone(),
                    source: Box::new(source),
                })?;
            // Our own connection is one of them.
            Ok(status.starts_with("Active connections: 1 "))
        })
    }

    /// Ends it; an error in its log is ours, as a run must have none.
    pub fn finish(mut self) -> Result<()> {
        self.process.stop();
        let log = fs::read_to_string(self.dir.path().join("error.log"));
        let log = log.while_doing("reading nginx's error log")?;
        let grave = ["[error]", "[crit]", "[alert]", "[emerg]"];
        match log.lines().find(|l| grave.iter().any(|g| l.contains(g))) {
            Some(line) => Err(Error::Logged(line.to_owned())),
            None => Ok(()),
        }
    }
}

fn worker_of(master: u32) -> Result<u32> {
    let path = format!("/proc/{master}/task/{master}/children");
    let mut worker = None;
    await_that("the start of nginx's worker", || {
        let children = fs::read_to_string(&path).while_doing(&path)?;
        worker = children
            .split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok());
        Ok(worker.is_some())
    })?;
    worker.ok_or(Error::Missing("nginx's worker".to_owned()))
}

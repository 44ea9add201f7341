//! An nginx with one worker.

use std::fs::{self, File};
use std::process::Stdio;

use tempfile::TempDir;

use crate::error::{Error, Result, While};
use crate::lab::Lab;
use crate::mock::Mock;
use crate::process::{Process, await_that, free_port};
use crate::route::{Group, Route};
use crate::site::{CLIENT_TOKEN, CLIENT_TOKEN_VARIABLE, Site};

pub struct Nginx {
    process: Process,
    worker: u32,
    port: u16,
    dir: TempDir,
}

impl Nginx {
    /// Starts it with a location for each route.
    pub fn start(lab: &Lab, mock: &Mock, routes: &[Route]) -> Result<Self> {
        Self::with_groups(lab, mock, routes, &[])
    }

    /// The same with groups of Redis servers, all of whose nodes are up when it returns.
    pub fn with_groups(lab: &Lab, mock: &Mock, routes: &[Route], groups: &[Group]) -> Result<Self> {
        let dir = tempfile::tempdir().while_doing("a directory for nginx")?;
        let port = free_port()?;
        let site = Site {
            routes,
            groups,
            module: &lab.module,
            mock: mock.port(),
            port,
            dir: dir.path(),
        };
        let text = site.config()?;
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
        let nginx = Self {
            process,
            worker,
            port,
            dir,
        };
        for route in routes {
            nginx.await_nodes(route)?;
        }
        Ok(nginx)
    }

    fn await_nodes(&self, route: &Route) -> Result<()> {
        let Some(path) = route.nodes_path() else {
            return Ok(());
        };
        let what = format!("Redis servers that are all up, of {}", route.name);
        await_that(&what, || {
            Ok(self.get(&path)?.split(',').all(|node| node == "up"))
        })
    }

    fn get(&self, path: &str) -> Result<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        ureq::get(&url)
            .call()
            .and_then(|mut answer| answer.body_mut().read_to_string())
            .map_err(|source| Error::Http {
                url,
                source: Box::new(source),
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
        await_that("an idle nginx", || {
            // Our own connection is one of them.
            Ok(self.get("/status")?.starts_with("Active connections: 1 "))
        })
    }

    /// Ends it; an error in its log is ours, as a run must have none.
    pub fn finish(self) -> Result<()> {
        self.finish_despite(None)
    }

    /// The same; errors that name what is there to fail are expected.
    pub fn finish_despite(mut self, failing: Option<&str>) -> Result<()> {
        self.process.stop();
        let log = fs::read_to_string(self.dir.path().join("error.log"));
        let log = log.while_doing("reading nginx's error log")?;
        let grave = ["[error]", "[crit]", "[alert]", "[emerg]"];
        let is_grave = |line: &&str| {
            let expected = failing.is_some_and(|name| line.contains(name));
            !expected && grave.iter().any(|g| line.contains(g))
        };
        match log.lines().find(is_grave) {
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

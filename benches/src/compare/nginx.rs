//! An nginx with one worker.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result, While};
use crate::lab::Lab;
use crate::mock::Mock;
use crate::process::{PATIENCE, Server, await_that};
use crate::route::{Group, Route};
use crate::site::{CLIENT_TOKEN, CLIENT_TOKEN_VARIABLE, Site};

pub struct Nginx {
    server: Server,
    worker: u32,
}

impl Nginx {
    /// Starts an nginx with a location for each route.
    pub fn start(lab: &Lab, mock: &Mock, routes: &[Route]) -> Result<Self> {
        Self::with_groups(lab, mock, routes, &[])
    }

    /// The same with groups of Redis servers. All their nodes are up when it returns.
    pub fn with_groups(lab: &Lab, mock: &Mock, routes: &[Route], groups: &[Group]) -> Result<Self> {
        let nginx = Self::configured(lab, |dir, port| {
            let site = Site {
                routes,
                groups,
                module: &lab.module,
                mock: mock.port(),
                port,
                dir,
            };
            site.config()
        })?;
        for route in routes {
            nginx.await_nodes(route)?;
        }
        Ok(nginx)
    }

    /// Starts an nginx with the configuration that `config` returns for a directory and a port.
    pub fn configured(
        lab: &Lab,
        config: impl FnOnce(&Path, u16) -> Result<String>,
    ) -> Result<Self> {
        let server = Server::start("nginx", PATIENCE, |dir, port| {
            let file = dir.join("nginx.conf");
            fs::write(&file, config(dir, port)?).while_doing("writing nginx.conf")?;
            let mut command = lab.cores.for_nginx(&lab.nginx);
            command
                .arg("-p")
                .arg(dir)
                .args(["-e", "error.log", "-c"])
                .arg(&file)
                .env(CLIENT_TOKEN_VARIABLE, CLIENT_TOKEN);
            Ok(command)
        })?;
        let worker = worker_of(server.process.pid())?;
        Ok(Self { server, worker })
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
        let url = format!("http://127.0.0.1:{}{path}", self.port());
        ureq::get(&url)
            .call()
            .and_then(|mut answer| answer.body_mut().read_to_string())
            .map_err(|source| Error::Http {
                url,
                source: Box::new(source),
            })
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// The worker's process id.
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Waits until all connections but our own are closed.
    pub fn await_idle(&self) -> Result<()> {
        await_that("an idle nginx", || {
            // Our own connection is counted.
            Ok(self.get("/status")?.starts_with("Active connections: 1 "))
        })
    }

    /// Stops nginx. Fails if its log contains an error.
    pub fn finish(self) -> Result<()> {
        self.finish_despite(None)
    }

    /// The same. Errors that contain `failing` are expected.
    pub fn finish_despite(mut self, failing: Option<&str>) -> Result<()> {
        self.server.process.stop();
        let log = fs::read_to_string(self.server.dir.path().join("error.log"));
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

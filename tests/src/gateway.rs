//! A running gateway.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mock_upstream::MockServer;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::call::Call;
use crate::cert::Certificate;
use crate::config::{self, Place};
use crate::config_test::ConfigTest;
use crate::error_log::ErrorLog;
use crate::flavour::Flavour;
use crate::nginx::Nginx;
use crate::plan::Plan;
use crate::port::free_port;
use crate::raw_client::RawClient;
use crate::verdict;
use crate::wait::wait_until;

/// nginx with the module, and the mock behind it. Dropping it ends nginx in order and fails the
/// test when anything is left over: see the module `verdict`.
pub struct Gateway {
    // Fields are dropped in this order: nginx before what it talks to.
    pub(crate) nginx: Nginx,
    mock: MockServer,
    plan: Plan,
    flavour: Flavour,
    port: u16,
    tls_port: u16,
    pub(crate) status_port: u16,
    dir: TempDir,
}

impl Gateway {
    #[track_caller]
    pub(crate) fn start(plan: Plan) -> Self {
        let flavour = Flavour::under_test();
        let mock = MockServer::start(plan.scenario.clone()).expect("the mock starts");
        let dir = directory();
        Certificate::create(dir.path());
        // Somebody else on this machine may take a port just before nginx does.
        let mut attempts = 3;
        loop {
            let (port, tls_port, status_port) = (free_port(), free_port(), free_port());
            let upstream = upstream(&plan, &mock);
            let place = Place {
                dir: dir.path(),
                port,
                tls_port,
                status_port,
                upstream: &upstream,
            };
            write(&plan, &flavour, &place);
            match Nginx::start(&flavour, dir.path(), &plan.environment) {
                Ok(nginx) => {
                    let gateway = Self {
                        nginx,
                        mock,
                        plan,
                        flavour,
                        port,
                        tls_port,
                        status_port,
                        dir,
                    };
                    gateway.wait_up();
                    // The master logs a worker when it may serve already.
                    wait_until("the master has reported its workers", || {
                        gateway.nginx.worker_pids().len() == gateway.plan.workers
                    });
                    return gateway;
                }
                Err(log) if log.contains("Address already in use") && attempts > 1 => {
                    attempts -= 1;
                    let _ = fs::remove_file(dir.path().join("error.log"));
                }
                Err(log) => panic!("{log}"),
            }
        }
    }

    /// The port that clients call.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port that clients call over TLS, if the plan has one.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// The directory with nginx.conf, the logs and the certificate of `localhost`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The upstream.
    pub fn mock(&self) -> &MockServer {
        &self.mock
    }

    /// The nginx.
    pub fn nginx(&mut self) -> &mut Nginx {
        &mut self.nginx
    }

    /// Sends a signal by `nginx -s`, from a shell with these variables only.
    pub fn signal_from_shell(&self, signal: &str, environment: &[(&str, &str)]) -> ConfigTest {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let environment: Vec<_> = environment.iter().map(owned).collect();
        ConfigTest::run(&self.flavour, self.dir(), &environment, &["-s", signal])
    }

    /// The error log.
    pub fn error_log(&self) -> &ErrorLog {
        self.nginx.error_log()
    }

    /// The address of a path on this gateway.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A streaming chat request.
    pub fn chat(&self) -> Call {
        let body = r#"{"model":"gpt-4o","stream":true,"messages":[]}"#;
        Call::json(self.url("/v1/chat/completions"), body)
    }

    /// A chat request with this body.
    pub fn chat_with(&self, body: impl Into<Vec<u8>>) -> Call {
        Call::json(self.url("/v1/chat/completions"), body)
    }

    /// A GET request.
    pub fn get(&self, path: &str) -> Call {
        Call::new("GET", self.url(path))
    }

    /// A connection for a client that behaves in its own way.
    pub fn connect(&self) -> RawClient {
        RawClient::connect(self.port)
    }

    /// Changes the plan and reloads nginx.
    #[track_caller]
    pub fn reload(&mut self, change: impl FnOnce(Plan) -> Plan) {
        self.plan = change(self.plan.clone());
        self.write(&self.plan);
        self.nginx.reload(self.plan.workers);
    }

    /// Reloads nginx without the plan: with these blocks beside `events`.
    #[track_caller]
    pub fn reload_others(&mut self, blocks: &str) {
        let workers = self.plan.workers;
        let text = config::without_plan(&self.flavour, self.dir(), workers, blocks);
        fs::write(self.dir().join("nginx.conf"), text).expect("the directory is writable");
        self.nginx.reload(workers);
    }

    /// Has nginx reload a plan that it will refuse; the plan in force stays.
    pub fn reload_refused(&self, change: impl FnOnce(Plan) -> Plan) {
        self.write(&change(self.plan.clone()));
        self.nginx.signal(Signal::HUP);
    }

    fn write(&self, plan: &Plan) {
        let place = Place {
            dir: self.dir.path(),
            port: self.port,
            tls_port: self.tls_port,
            status_port: self.status_port,
            upstream: &upstream(plan, &self.mock),
        };
        write(plan, &self.flavour, &place);
    }

    /// Ends nginx in order, and starts it again.
    #[track_caller]
    pub fn restart(&mut self) {
        self.quit();
        let expected = self.plan.expected.clone();
        self.nginx.wait_ended(&expected);
        self.start_again();
    }

    /// Kills all of nginx, and starts it again.
    #[track_caller]
    pub fn crash(&mut self) {
        self.nginx.crash();
        self.start_again();
    }

    /// Ends nginx in order, and starts it as a daemon, which can change its binary: an nginx
    /// whose parent waits for it does not. Gives its process; ending it is the caller's.
    #[track_caller]
    pub fn restart_as_daemon(&mut self) -> Pid {
        self.quit();
        let expected = self.plan.expected.clone();
        self.nginx.wait_ended(&expected);
        let pid = Nginx::start_daemon(&self.flavour, self.dir.path(), &self.plan.environment);
        self.wait_up();
        pid
    }

    #[track_caller]
    fn start_again(&mut self) {
        let started = Nginx::start(&self.flavour, self.dir.path(), &self.plan.environment);
        self.nginx = started.unwrap_or_else(|log| panic!("{log}"));
        self.wait_up();
        wait_until("the master has reported its workers", || {
            self.nginx.worker_pids().len() == self.plan.workers
        });
    }

    /// Asks nginx to end once all requests have ended.
    pub fn quit(&self) {
        self.nginx.signal(Signal::QUIT);
    }

    /// The plan as it is in force.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    #[track_caller]
    fn wait_up(&self) {
        let call = Call::new("GET", format!("http://127.0.0.1:{}/up", self.status_port));
        wait_until("nginx answers", || {
            call.try_send().is_ok_and(|answer| answer.status == 200)
        });
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        verdict::pronounce(self);
    }
}

/// Has nginx test a plan's configuration.
pub(crate) fn check(plan: &Plan) -> ConfigTest {
    let flavour = Flavour::under_test();
    let dir = directory();
    Certificate::create(dir.path());
    let (port, tls_port, status_port) = (free_port(), free_port(), free_port());
    let place = Place {
        dir: dir.path(),
        port,
        tls_port,
        status_port,
        upstream: "127.0.0.1:1",
    };
    write(plan, &flavour, &place);
    ConfigTest::run(&flavour, dir.path(), &plan.environment, &["-t"])
}

/// A directory that unprivileged workers can enter.
pub(crate) fn directory() -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("e2e-")
        .tempdir()
        .expect("a temporary directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
        .expect("its permissions can be set");
    dir
}

fn upstream(plan: &Plan, mock: &MockServer) -> String {
    plan.upstream
        .clone()
        .unwrap_or_else(|| mock.addr().to_string())
}

fn write(plan: &Plan, flavour: &Flavour, place: &Place<'_>) {
    let write = |name: &str, content: String| {
        fs::write(place.dir.join(name), content).expect("the directory is writable");
    };
    write("nginx.conf", config::render(plan, flavour, place));
    for (name, content) in &plan.files {
        write(name, config::fill(content, place));
    }
}

//! A running nginx.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::asan;
use crate::error_log::ErrorLog;
use crate::flavour::Flavour;
use crate::valgrind;
use crate::wait::{wait_for, wait_until};

/// The variables that the shipped configurations and the module read.
pub const VARIABLES: [&str; 9] = [
    "PRIMARY_OPENAI_API_KEY",
    "OPENAI_API_KEYS",
    "REDIS_URL",
    "REDIS_PASSWORD",
    "SERVICE_TOKEN",
    "ADMIN_TOKEN",
    "DEV_MODE",
    "ENCRYPTION_KEY",
    "LOG_LEVEL",
];

/// A master process and its workers.
pub struct Nginx {
    master: Child,
    log: ErrorLog,
    dir: PathBuf,
}

impl Nginx {
    /// Starts nginx on `dir/nginx.conf`, logging to `dir/error.log`, and waits until it listens.
    /// Gives the error log when nginx ends instead.
    pub(crate) fn start(
        flavour: &Flavour,
        dir: &Path,
        environment: &[(String, String)],
    ) -> Result<Self, String> {
        let log = ErrorLog::new(dir.join("error.log"));
        let output = File::create(dir.join("output.log")).expect("the directory is writable");
        let mut master = command(flavour, dir, environment)
            .stdout(output.try_clone().expect("a file can be shared"))
            .stderr(output)
            .spawn()
            .expect("nginx can be run");
        let pid_file = dir.join("nginx.pid");
        let ended = wait_for("nginx has started", || {
            let ended = master.try_wait().expect("nginx can be waited for");
            (ended.is_some() || pid_file.exists()).then_some(ended)
        });
        match ended {
            None => Ok(Self {
                master,
                log,
                dir: dir.to_owned(),
            }),
            Some(status) => Err(format!("nginx ended ({status}):\n{}", log.tail(20))),
        }
    }

    /// Starts nginx without being its parent.
    pub(crate) fn start_daemon(
        flavour: &Flavour,
        dir: &Path,
        environment: &[(String, String)],
    ) -> Pid {
        let nginx = command(flavour, dir, environment);
        let mut shell = Command::new("sh");
        // nginx compares its parent with the one that it had at first.
        let script = "pid=$1; shift; \"$@\" & \
                      while kill -0 $! && ! test -s \"$pid\"; do sleep 0.01; done";
        shell
            .args(["-c", script, "sh"])
            .arg(dir.join("nginx.pid"))
            .arg(nginx.get_program())
            .args(nginx.get_args());
        for (name, value) in nginx.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let output = File::create(dir.join("output.log")).expect("the directory is writable");
        shell
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file can be shared"))
            .stderr(output);
        assert!(shell.status().expect("a shell").success());
        wait_for("nginx has started", || {
            let pid = fs::read_to_string(dir.join("nginx.pid")).ok()?;
            Pid::from_raw(pid.trim().parse().ok()?)
        })
    }

    /// The error log.
    pub fn error_log(&self) -> &ErrorLog {
        &self.log
    }

    /// The workers that take new requests.
    pub fn worker_pids(&self) -> Vec<i32> {
        let text = self.log.text();
        self.children()
            .into_iter()
            .filter(|pid| text.contains(&format!("start worker process {pid}\n")))
            .filter(|pid| !text.contains(&format!(" {pid}#{pid}: gracefully shutting down\n")))
            .collect()
    }

    /// The master.
    pub fn master_pid(&self) -> u32 {
        self.master.id()
    }

    /// Every living child of the master, also those that are shutting down.
    pub fn children(&self) -> Vec<i32> {
        let master = self.master.id();
        let list = fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let list = list.unwrap_or_default();
        list.split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    /// Reloads the configuration, and waits until `workers` new workers have taken over.
    #[track_caller]
    pub fn reload(&self, workers: usize) {
        let old = self.children();
        self.signal(Signal::HUP);
        wait_until("new workers have taken over", || {
            let serving = self.worker_pids();
            serving.len() == workers && !serving.iter().any(|pid| old.contains(pid))
        });
    }

    /// Kills the master and all workers at once, as a machine that loses them does.
    pub fn crash(&mut self) {
        let workers = self.children();
        // The master first: it would replace the workers.
        self.master.kill().expect("the master can be killed");
        self.master.wait().expect("the master can be waited for");
        for &pid in &workers {
            kill(pid, Signal::KILL);
        }
        wait_until("the workers are gone", || {
            workers
                .iter()
                .all(|&pid| matches!(state_of(pid), None | Some('Z')))
        });
        let _ = fs::remove_file(self.dir.join("nginx.pid"));
    }

    /// Sends a signal to the master.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.master.id()).expect("a process id");
        kill(pid, signal);
    }

    /// Kills a worker, as the kernel would for want of memory.
    pub fn kill_worker(&self, pid: i32) {
        kill(pid, Signal::KILL);
    }

    /// Stops a worker, as a debugger or a machine that is moved does.
    pub fn stop_worker(&self, pid: i32) {
        kill(pid, Signal::STOP);
        wait_until("the worker has stopped", || state_of(pid) == Some('T'));
    }

    /// Lets a stopped worker go on.
    pub fn resume_worker(&self, pid: i32) {
        kill(pid, Signal::CONT);
    }

    /// Whether the master has ended.
    pub fn has_ended(&mut self) -> bool {
        self.status().is_some()
    }

    /// Waits until the master has ended, and its log reports no fault but those that hold one
    /// of `expected`; valgrind or AddressSanitizer, if used, must have found nothing.
    #[track_caller]
    pub fn wait_ended(&mut self, expected: &[&str]) {
        let status = wait_for("nginx has ended", || self.status());
        // First: what nginx logs of it is less.
        let reports = self.reports();
        assert!(reports.is_empty(), "{}", reports.join("\n"));
        let faults = self.log.faults(expected);
        assert!(
            faults.is_empty(),
            "the error log reports faults:\n{}",
            faults.join("\n")
        );
        assert!(status.success(), "nginx ended with {status}");
        let killed = expected.iter().any(|line| line.contains("on signal 9"));
        let findings = valgrind::findings(&self.dir, killed);
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    /// What AddressSanitizer has reported so far.
    pub(crate) fn reports(&self) -> Vec<String> {
        asan::findings(&self.dir)
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.master.try_wait().expect("nginx can be waited for")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Only a failing test comes here with nginx still running.
        if !self.has_ended() {
            let workers = self.children();
            // The master first: it would replace the workers.
            let _ = self.master.kill();
            let _ = self.master.wait();
            for pid in workers {
                kill(pid, Signal::KILL);
            }
        }
    }
}

/// The state of a process as the kernel names it.
fn state_of(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.chars().next()
}

/// The process may have ended by itself just before.
fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

pub(crate) fn command(flavour: &Flavour, dir: &Path, environment: &[(String, String)]) -> Command {
    let mut command = valgrind::command(&flavour.nginx, dir);
    command
        .arg("-p")
        .arg(dir)
        .arg("-e")
        .arg(dir.join("error.log"));
    command
        .arg("-c")
        .arg(dir.join("nginx.conf"))
        .stdin(Stdio::null());
    // What the caller's shell holds is not for the nginx under test; the last one nginx itself reads.
    for name in VARIABLES.into_iter().chain(["NGINX"]) {
        command.env_remove(name);
    }
    asan::prepare(&mut command, dir);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

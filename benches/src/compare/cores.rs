//! Assignment of processes to cores.

use std::ffi::OsStr;
use std::fmt;
use std::process::Command;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores in use. nginx has one of its own, so that the load and the upstream take no time from
/// it; they share the others. With one core, all processes share it.
#[derive(Clone, Debug)]
pub struct Cores {
    allowed: Vec<usize>,
}

impl Cores {
    /// The cores that this process is allowed to use.
    pub fn allowed() -> Self {
        let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        let allowed = (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core));
        Self {
            allowed: allowed.collect(),
        }
    }

    /// A command on nginx's core.
    pub fn for_nginx(&self, program: impl AsRef<OsStr>) -> Command {
        Self::pinned(self.split().map(|(first, _)| first), program.as_ref())
    }

    /// A command on the other cores.
    pub fn for_others(&self, program: impl AsRef<OsStr>) -> Command {
        Self::pinned(self.split().map(|(_, rest)| rest), program.as_ref())
    }

    /// A command on the cores of the load and the mock. If these have only one core, on all cores:
    /// otherwise that core would be full, and would be measured instead of nginx.
    pub fn for_stores(&self, program: impl AsRef<OsStr>) -> Command {
        if !self.share_stores() {
            return self.for_others(program);
        }
        let all: Vec<String> = self.allowed.iter().map(usize::to_string).collect();
        Self::pinned(Some(all.join(",")), program.as_ref())
    }

    /// Moves this process, which is a client too, to the other cores.
    pub fn move_to_others(&self) {
        if let Some((_, rest)) = self.allowed.split_first()
            && !rest.is_empty()
        {
            let mut set = CpuSet::new();
            rest.iter().for_each(|&core| set.set(core));
            let _ = sched_setaffinity(None, &set);
        }
    }

    fn share_stores(&self) -> bool {
        self.allowed.len() <= 2
    }

    fn split(&self) -> Option<(String, String)> {
        let (first, rest) = self.allowed.split_first()?;
        if rest.is_empty() {
            return None;
        }
        let rest: Vec<String> = rest.iter().map(usize::to_string).collect();
        Some((first.to_string(), rest.join(",")))
    }

    /// Makes a command that taskset runs; taskset executes the program in the same process.
    ///
    /// The environment is not inherited: nginx takes inherited sockets from the variable NGINX, and
    /// the mock reads settings from it.
    fn pinned(cores: Option<String>, program: &OsStr) -> Command {
        let mut command = match cores {
            Some(cores) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", &cores]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.split() {
            Some((nginx, others)) => {
                let stores = if self.share_stores() { "all" } else { &others };
                write!(
                    f,
                    "nginx on core {nginx}, mock and clients on {others}, Redis on {stores}"
                )
            }
            None => write!(f, "one core for all"),
        }
    }
}

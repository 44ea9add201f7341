//! Which process runs on which core.

use std::ffi::OsStr;
use std::fmt;
use std::process::Command;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// nginx has a core of its own, so that neither the load nor the upstream takes time from it;
/// they share the others. With one core there is nothing to divide.
#[derive(Clone, Debug)]
pub struct Cores {
    allowed: Vec<usize>,
}

impl Cores {
    /// The cores that this process may use.
    pub fn allowed() -> Self {
        let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        let allowed = (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core));
        Self {
            allowed: allowed.collect(),
        }
    }

    /// A command that runs on nginx's core.
    pub fn for_nginx(&self, program: impl AsRef<OsStr>) -> Command {
        Self::pinned(self.split().map(|(first, _)| first), program.as_ref())
    }

    /// A command that runs on the other cores.
    pub fn for_others(&self, program: impl AsRef<OsStr>) -> Command {
        Self::pinned(self.split().map(|(_, rest)| rest), program.as_ref())
    }

    /// A command that runs beside the load and the mock, or on all cores if they have only one:
    /// they fill it, and that would be measured, not nginx.
    pub fn for_stores(&self, program: impl AsRef<OsStr>) -> Command {
        if !self.share_stores() {
            return self.for_others(program);
        }
        let all: Vec<String> = self.allowed.iter().map(usize::to_string).collect();
        Self::pinned(Some(all.join(",")), program.as_ref())
    }

    /// Moves this process to the other cores: it is a client as well.
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

    /// taskset becomes the program: the process id is the program's own.
    ///
    /// The environment is left behind: nginx takes a variable NGINX for inherited sockets, and the
    /// mock has settings there.
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

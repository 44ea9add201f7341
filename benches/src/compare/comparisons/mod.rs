//! What is compared, a file each.

mod first_token;
mod keys;
mod latency;
mod locks;
mod memory;
mod redlock;
mod redlock_syscalls;
mod throughput;
mod waiting;

use clap::ValueEnum;

use crate::error::Result;
use crate::lab::Lab;
use crate::report::Report;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Comparison {
    /// Requests a second, 64 connections
    Throughput,
    /// Time of whole answers, 1 and 64 clients as fast as they can
    Latency,
    /// Time of the first token and of the last, 512 clients at reading speed
    FirstToken,
    /// Memory of an open stream
    Memory,
    /// Requests a second with 10 and with 10,000 keys
    Keys,
    /// Requests a second when most of them wait for a key
    Waiting,
    /// Requests a second and added time with leases on Redis servers, beside plain and Lua
    Redlock,
    /// Calls of the lock service a second, beside `return 200`
    Locks,
    /// System calls of nginx's worker for a request, counted by strace
    RedlockSyscalls,
}

impl Comparison {
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    pub fn run(self, lab: &Lab, report: &mut Report) -> Result<()> {
        match self {
            Self::Throughput => throughput::run(lab, report),
            Self::Latency => latency::run(lab, report),
            Self::FirstToken => first_token::run(lab, report),
            Self::Memory => memory::run(lab, report),
            Self::Keys => keys::run(lab, report),
            Self::Waiting => waiting::run(lab, report),
            Self::Redlock => redlock::run(lab, report),
            Self::Locks => locks::run(lab, report),
            Self::RedlockSyscalls => redlock_syscalls::run(lab, report),
        }
    }
}

//! What is compared, a file each.

mod ab;
mod first_token;
mod keys;
mod latency;
mod locks;
mod memory;
mod mock;
mod peers;
mod redlock;
mod redlock_syscalls;
mod streams;
mod throughput;
mod usage;
mod waiting;

use clap::ValueEnum;

use crate::error::Result;
use crate::lab::Lab;
use crate::report::Report;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Comparison {
    /// Requests a second, 64 connections
    Throughput,
    /// Requests a second with the usage of answers read, asked for and taken out
    Usage,
    /// Time of whole answers, 1 and 64 clients as fast as they can
    Latency,
    /// Time of the first token and of the last, 512 clients at reading speed
    FirstToken,
    /// Time of the first token and between tokens, and 4,000 open streams, by `mock-upstream bench`
    Streams,
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
    /// The mock beside one in OpenResty's Lua: streams a second, pace, 8,000 open streams
    Mock,
    /// Other gateways: LiteLLM, and OpenResty's Lua; a table in Markdown
    Peers,
    /// The module beside an older build of it, named by `--old`
    Ab,
}

impl Comparison {
    /// All but the peers, which are not ours to install unasked, and `ab`, which needs an older module.
    pub fn all() -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|comparison| !matches!(comparison, Self::Peers | Self::Ab))
            .collect()
    }

    /// How often each side is measured unless `--rounds` says otherwise. A change of some percent shows in
    /// more rounds than a difference from plain nginx does.
    pub fn rounds(self) -> usize {
        if self == Self::Ab { 15 } else { 7 }
    }

    pub fn run(self, lab: &Lab, report: &mut Report) -> Result<()> {
        match self {
            Self::Throughput => throughput::run(lab, report),
            Self::Usage => usage::run(lab, report),
            Self::Latency => latency::run(lab, report),
            Self::FirstToken => first_token::run(lab, report),
            Self::Streams => streams::run(lab, report),
            Self::Memory => memory::run(lab, report),
            Self::Keys => keys::run(lab, report),
            Self::Waiting => waiting::run(lab, report),
            Self::Redlock => redlock::run(lab, report),
            Self::Locks => locks::run(lab, report),
            Self::Mock => mock::run(lab, report),
            Self::Peers => peers::run(lab, report),
            Self::Ab => ab::run(lab, report),
            Self::RedlockSyscalls => redlock_syscalls::run(lab, report),
        }
    }
}

//! The comparisons, one in each file.

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
    /// Requests per second, 64 connections
    Throughput,
    /// Requests per second when usage is read, and when the usage chunk is requested and removed
    Usage,
    /// Duration of responses, with 1 and with 64 clients without pauses
    Latency,
    /// Time to the first and to the last token, 512 streams at the speed of real models
    FirstToken,
    /// Time to the first token and between tokens, and 4,000 open streams, by `mock-upstream bench`
    Streams,
    /// Memory per open stream
    Memory,
    /// Requests per second with 10 and with 10,000 keys
    Keys,
    /// Requests per second when most of them wait for a key
    Waiting,
    /// Requests per second and added time with leases on Redis servers; also of plain nginx and Lua
    Redlock,
    /// Calls of the lock service per second, compared with `return 200`
    Locks,
    /// System calls of nginx's worker per request, counted by strace
    RedlockSyscalls,
    /// The mock compared with one in OpenResty's Lua: streams per second, pace, 8,000 open streams
    Mock,
    /// Other gateways: LiteLLM and OpenResty's Lua; prints a table in Markdown
    Peers,
    /// The module compared with an older build, `--old`
    Ab,
}

impl Comparison {
    /// All comparisons that need nothing further: `peers` would install LiteLLM, and `ab` needs an
    /// older module.
    pub fn all() -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|comparison| !matches!(comparison, Self::Peers | Self::Ab))
            .collect()
    }

    /// The default number of rounds. Changes of a few percent need more rounds than the difference
    /// from plain nginx.
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

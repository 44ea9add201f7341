//! The wait for a lease.

use openai_core::lease::{LeaseHandle, WaitTicket};

use crate::telemetry::now;

/// How the request for a lease went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseStatus {
    #[default]
    None,
    Immediate,
    /// Still in the queue: seen in logs of clients that left.
    Waiting,
    Waited,
    Timeout,
    QueueFull,
    Lost,
    Unavailable,
    /// All keys were out for longer than it may wait.
    CoolingDown,
    /// All keys were revoked or out of quota.
    Unhealthy,
    /// Without a lock, since no quorum was to be had.
    Fallback,
}

impl LeaseStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Immediate => "immediate",
            Self::Waiting => "client_left",
            Self::Waited => "waited",
            Self::Timeout => "timeout",
            Self::QueueFull => "queue_full",
            Self::Lost => "lost",
            Self::Unavailable => "unavailable",
            Self::CoolingDown => "cooling_down",
            Self::Unhealthy => "unhealthy",
            Self::Fallback => "fallback",
        }
    }
}

/// What a caller wishes of the lease that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Its own is the client's.
    pub priority: Option<i32>,
    /// How long to wait for a slot, at most.
    pub wait_ms: u64,
}

/// How the wait for a lease goes, or went.
#[derive(Clone, Copy, Default)]
pub struct Wait {
    pub status: LeaseStatus,
    pub ticket: Option<WaitTicket>,
    /// The lease whose slot is being locked on other machines.
    pub locking: Option<LeaseHandle>,
    /// How often a lock has been asked for, and how many nodes granted the last one.
    pub rounds: u32,
    pub votes: Option<u8>,
    /// Its place among those of its priority, when it has waited before.
    pub arrival: Option<u64>,
    /// Whether it has been in the queue.
    pub is_queued: bool,
    /// When the last lease was asked for, and how long that took.
    pub asked_ms: u64,
    pub took_ms: u64,
}

impl Wait {
    pub(super) fn is_over(&mut self) {
        self.took_ms = now().mono_ms.saturating_sub(self.asked_ms);
    }
}

//! The wait for a lease.

use openai_core::lease::{LeaseHandle, WaitTicket};

use crate::telemetry::now;

/// State or result of the request for a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseStatus {
    #[default]
    None,
    Immediate,
    /// Still waiting. Logged for clients that left meanwhile.
    Waiting,
    Waited,
    Timeout,
    QueueFull,
    Lost,
    Unavailable,
    /// All keys were cooling down for longer than the request may wait.
    CoolingDown,
    /// All keys were invalid or out of quota.
    Unhealthy,
    /// Leased without a lock, because too few nodes could vote.
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

/// State of the wait for a lease.
#[derive(Clone, Copy, Default)]
pub struct Wait {
    pub status: LeaseStatus,
    pub ticket: Option<WaitTicket>,
    /// The lease whose slot is being locked on the nodes.
    pub locking: Option<LeaseHandle>,
    /// Number of nodes that granted the lock.
    pub votes: Option<u8>,
    /// Whether the request was in the queue.
    pub is_queued: bool,
    /// When the lease was asked for, and how long that took, in milliseconds.
    pub asked_ms: u64,
    pub took_ms: u64,
}

impl Wait {
    pub(in crate::gateway) fn is_over(&mut self) {
        self.took_ms = now().mono_ms.saturating_sub(self.asked_ms);
    }
}

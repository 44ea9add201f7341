//! An attempt of a request.

use std::rc::Rc;

use nginx_safe::Timer;
use openai_core::attempts::AnswerState;
use openai_core::circuit::Permit;
use openai_wire::usage::UsageStripper;
use openai_wire::{EventEnd, Verdict};

use super::{LeaseStatus, Wait};
use crate::config::PoolKey;
use crate::gateway::usage::Meter;
use crate::pool::Lease;

/// One attempt: from the choice of its target to the end of the response. A new attempt
/// replaces the whole state except what is logged until it has a lease: see
/// [`Attempt::after`].
#[derive(Default)]
pub struct Attempt {
    /// The wait for the lease.
    pub wait: Wait,
    /// Timer that ends a wait, a pause, or the reading of a response.
    pub deadline: Option<Timer>,
    /// Circuit-breaker permit; the result is still pending.
    pub permit: Option<Permit>,
    /// The current or last lease.
    pub lease: Option<Lease>,
    /// Key of the lease.
    pub key: Option<Rc<PoolKey>>,
    /// State of the lease, if there is one.
    pub lease_state: LeaseState,
    /// Verdict on the response.
    pub verdict: Option<Verdict>,
    pub answer: UpstreamAnswer,
}

impl Attempt {
    /// The attempt after another. Until it has a lease, logs and metrics show the lease,
    /// verdict and wait of the previous one.
    pub fn after(before: &Self) -> Self {
        Self {
            wait: Wait {
                status: before.wait.status,
                votes: before.wait.votes,
                took_ms: before.wait.took_ms,
                ..Wait::default()
            },
            lease: before.lease,
            key: before.key.clone(),
            lease_state: before.lease_state,
            verdict: before.verdict,
            ..Self::default()
        }
    }

    /// Stores the lease that the request has got.
    pub fn leased(&mut self, lease: Lease, key: Rc<PoolKey>, status: LeaseStatus) {
        self.wait.is_over();
        self.wait.status = status;
        self.lease = Some(lease);
        self.key = Some(key);
        self.lease_state = LeaseState::Held;
        self.verdict = None;
    }

    /// The lease that the request holds now.
    pub fn held(&self) -> Option<Lease> {
        self.lease.filter(|_| self.lease_state == LeaseState::Held)
    }

    /// Marks the lease as ended and returns it if the request held it.
    pub fn end(&mut self) -> Option<Lease> {
        let lease = self.held()?;
        self.lease_state = LeaseState::Ended(lease.held_ms());
        Some(lease)
    }
}

/// State of the lease of an attempt.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum LeaseState {
    #[default]
    Held,
    /// It has become a lock of a service, which outlives the request.
    Entrusted,
    /// It has ended, after this many milliseconds.
    Ended(u64),
}

/// The upstream's response.
#[derive(Default)]
pub struct UpstreamAnswer {
    pub state: AnswerState,
    /// Position relative to the ends of events, if the response is an event stream.
    pub events: Option<EventEnd>,
    /// Reads the usage from the response.
    pub meter: Option<Meter>,
    /// Removes the usage chunk that the gateway, but not the client, has asked for.
    pub stripper: Option<UsageStripper>,
    /// Maximum number of further bytes to read after the client has left.
    pub draining: Option<u64>,
}

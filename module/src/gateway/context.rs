//! What a request carries from step to step.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use nginx_safe::{Editor, Timer, Token};
use openai_core::attempts::UpstreamErrors;
use openai_core::circuit::Pass;
use openai_core::lease::{Avoid, LeaseHandle, WaitTicket};
use openai_core::routes::Routed;
use openai_wire::usage::UsageStripper;
use openai_wire::{ApiError, EventEnd, Head, Verdict};

use super::stream::usage::Meter;
use super::trace::Ids;
use crate::config::{PoolKey, Target};
use crate::pool::{self, Lease, circuits, locks};
use crate::telemetry::now;

/// Where a request is on the request path: what is done next, or what it waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    #[default]
    Fresh,
    /// Its body has been asked for; its head is to be looked at.
    Body,
    /// The quota of its client is to be looked at.
    Admit,
    /// Its targets are to be found.
    Route,
    /// An attempt is over, and another to be made.
    Again,
    /// It pauses before that one, without a lease.
    Pausing,
    /// A target is to be chosen.
    Target,
    /// A lease is to be asked for.
    Lease,
    /// It is in the queue, or its slot is being locked.
    Waiting,
    /// It has a lease.
    Leased,
    /// The lock of a service is being prolonged on the nodes.
    Prolonging,
    /// It may be sent.
    Send,
    /// It is to be refused.
    Refused(ApiError),
    /// It has been sent, or answered.
    Done,
}

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
    Cooling,
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
            Self::Cooling => "cooling",
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

/// What has been sent in place of an answer of nginx's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    #[default]
    Nginx,
    Announced(ApiError),
    Sent,
}

/// Where a request may go.
#[derive(Default)]
pub struct Route {
    /// The `openai_routes` that routed it, and where to.
    pub routed: Option<(usize, Routed)>,
    /// The targets, in the order of preference.
    pub targets: Option<Rc<[Target]>>,
    /// Which of them was chosen.
    pub chosen: Option<usize>,
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
    fn is_over(&mut self) {
        self.took_ms = now().mono_ms.saturating_sub(self.asked_ms);
    }
}

/// The attempts that have been made, and what has failed.
#[derive(Default)]
pub struct Retries {
    /// How often the request has been sent.
    pub attempts: u32,
    /// How many of these do not count: they met a kept connection that the upstream had
    /// closed, or a key that is invalid or out of quota.
    pub uncounted: u32,
    /// When the first lease was asked for.
    pub first_asked_ms: u64,
    /// The keys that were of no use, and the targets: a bit for each.
    pub avoid: Avoid,
    pub faulty: u64,
    /// The targets whose upstream has failed it too often in the same way.
    pub spent: u64,
    pub errors: UpstreamErrors,
    /// How long to pause before the next attempt.
    pub pause_ms: u64,
    /// What the last answer says.
    pub verdict: Option<Verdict>,
}

/// One attempt: from its lease to the end of its answer. A new one begins with a new lease.
#[derive(Default)]
pub struct Attempt {
    /// The lease, also once it has ended.
    pub lease: Option<Lease>,
    /// Its key.
    pub key: Option<Rc<PoolKey>>,
    /// Whether the lease is still ours to release.
    pub holds: bool,
    /// How long it was held.
    pub held_ms: u64,
    pub answer: Answer,
}

/// The upstream's answer.
#[derive(Default)]
pub struct Answer {
    /// Its status, once it goes to the client.
    pub status: Option<u16>,
    /// Where it is, if it is an event stream.
    pub events: Option<EventEnd>,
    /// Reads its usage.
    pub meter: Option<Meter>,
    /// Takes what the gateway has asked a stream for out of it.
    pub stripper: Option<UsageStripper>,
    /// What restores the name of an alias in it.
    pub editor: Option<Rc<Editor>>,
    /// Whether the upstream has given all of it.
    pub is_complete: bool,
    /// How many bytes more of it may be read, once its client is gone.
    pub draining: Option<u64>,
    /// Whether the client was gone before it was whole.
    pub is_left: bool,
    /// Whether the end of the body has gone with its last piece.
    pub is_joined: bool,
}

/// The context of a request.
pub struct Context {
    pub token: Token,
    pub stage: Cell<Stage>,
    /// The position of the client in the table of clients.
    pub client: Cell<Option<usize>>,
    pub head: OnceCell<Head>,
    pub route: RefCell<Route>,
    pub wait: Cell<Wait>,
    /// Ends a wait, a pause, or the reading of an answer.
    pub deadline: RefCell<Option<Timer>>,
    pub retries: RefCell<Retries>,
    /// The permission of a circuit, until the outcome is told.
    pub pass: Cell<Option<Pass>>,
    pub attempt: RefCell<Attempt>,
    pub refusal: Cell<Option<ApiError>>,
    pub reply: Cell<Reply>,
    /// What a caller of the lock service wishes; `None` of a request that is sent upstream.
    pub wishes: Cell<Option<Wishes>>,
    /// What the lock service keeps of it.
    pub service: OnceCell<Box<dyn Any>>,
    /// Whether it has been counted.
    pub counted: Cell<bool>,
    /// Its ids, once somebody has asked for them.
    pub trace: OnceCell<Box<Ids>>,
}

impl Context {
    pub fn new(token: Token) -> Self {
        Self {
            token,
            stage: Cell::default(),
            client: Cell::default(),
            head: OnceCell::new(),
            route: RefCell::default(),
            wait: Cell::default(),
            deadline: RefCell::default(),
            retries: RefCell::default(),
            pass: Cell::default(),
            attempt: RefCell::default(),
            refusal: Cell::default(),
            reply: Cell::default(),
            wishes: Cell::default(),
            service: OnceCell::new(),
            counted: Cell::default(),
            trace: OnceCell::new(),
        }
    }

    /// An internal redirect has sent the request through the phases anew.
    pub fn restart(&self) {
        self.let_go();
        let Wait {
            asked_ms, took_ms, ..
        } = self.wait.get();
        self.wait.set(Wait {
            asked_ms,
            took_ms,
            ..Wait::default()
        });
        self.route.take();
        self.retries.take();
        self.attempt.take();
        self.stage.set(Stage::Fresh);
        self.refusal.set(None);
        self.wishes.set(None);
    }

    /// Gives up the place in the queue and the lease, whichever there is.
    pub fn let_go(&self) {
        self.deadline.take();
        if let Some(pass) = self.pass.take() {
            circuits::unknown(pass);
        }
        let mut wait = self.wait.get();
        let (ticket, locking) = (wait.ticket.take(), wait.locking.take());
        if ticket.is_some() || locking.is_some() {
            wait.is_over();
            self.wait.set(wait);
        }
        if let Some(ticket) = ticket {
            pool::leave(ticket);
        }
        if let Some(handle) = locking {
            locks::end(handle);
        }
        if let Some(lease) = self.end_attempt() {
            pool::release(&lease);
        }
    }

    /// The lease is not the request's any more: what was held, if it was.
    pub fn end_attempt(&self) -> Option<Lease> {
        let mut attempt = self.attempt.borrow_mut();
        let lease = attempt.lease.filter(|_| attempt.holds)?;
        attempt.holds = false;
        attempt.held_ms = now().mono_ms.saturating_sub(lease.grant.granted_ms);
        Some(lease)
    }

    /// A new attempt begins, with this lease.
    pub fn begin_attempt(&self, lease: Lease, key: Rc<PoolKey>, status: LeaseStatus) {
        let mut wait = self.wait.get();
        wait.is_over();
        wait.status = status;
        self.wait.set(wait);
        // What is dropped is dropped when nothing is borrowed.
        let _before = self.attempt.replace(Attempt {
            lease: Some(lease),
            key: Some(key),
            holds: true,
            ..Attempt::default()
        });
        self.stage.set(Stage::Leased);
    }

    /// Changes what is known of the wait.
    pub fn note_wait(&self, change: impl FnOnce(&mut Wait)) {
        let mut wait = self.wait.get();
        change(&mut wait);
        self.wait.set(wait);
    }

    /// The lease, also once it has ended.
    pub fn lease(&self) -> Option<Lease> {
        self.attempt.borrow().lease
    }

    /// The lease that the request holds now.
    pub fn held(&self) -> Option<Lease> {
        let attempt = self.attempt.borrow();
        attempt.lease.filter(|_| attempt.holds)
    }

    /// The id of the key of the last lease.
    pub fn key_id(&self) -> Option<String> {
        let attempt = self.attempt.borrow();
        attempt.key.as_ref().map(|key| key.id.clone())
    }

    /// How long the lease has been held, or was.
    pub fn held_ms(&self) -> Option<u64> {
        let attempt = self.attempt.borrow();
        let lease = attempt.lease?;
        Some(match attempt.holds {
            true => now().mono_ms.saturating_sub(lease.grant.granted_ms),
            false => attempt.held_ms,
        })
    }

    /// How long it waited for the lease, or has waited.
    pub fn waited_ms(&self) -> u64 {
        let mut wait = self.wait.get();
        if wait.ticket.is_some() || wait.locking.is_some() {
            wait.is_over();
        }
        wait.took_ms
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.let_go();
    }
}

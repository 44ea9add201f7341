//! What a request carries from phase to phase.

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

use crate::config::{PoolKey, Target};
use crate::gateway::trace::Ids;
use crate::gateway::usage::Meter;
use crate::pool::circuits;
use crate::pool::locks;
use crate::pool::{self, Lease};
use crate::telemetry::now;

/// Where a request is on its way to a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    #[default]
    Fresh,
    /// The body is being read.
    Reading,
    /// It has a place in the queue.
    Waiting,
    /// Its wait is over without a lease.
    TimedOut,
    /// The lock service cannot decide.
    Unavailable,
    /// It is to be refused, for the reason that the context has.
    Refused,
    /// The circuit of the chosen target is open: another has to be chosen.
    Open,
    /// An attempt is over, and another to be made.
    Again,
    /// It pauses before that one, without a lease.
    Pausing,
    /// It has a lease.
    Leased,
    /// The lock of a service is being prolonged on the nodes.
    Prolonging,
    /// It went on without a lease, or has been refused.
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

/// The context of a request.
pub struct Context {
    pub token: Token,
    pub stage: Cell<Stage>,
    /// The position of the client in the table of clients.
    pub client: Cell<Option<usize>>,
    pub head: OnceCell<Head>,
    /// The `openai_routes` that routed it, and where to.
    pub routed: Cell<Option<(usize, Routed)>>,
    /// Where it may go, in the order of preference, and which of them was chosen.
    pub targets: RefCell<Option<Rc<[Target]>>>,
    pub target: Cell<Option<usize>>,
    pub status: Cell<LeaseStatus>,
    pub lease: Cell<Option<Lease>>,
    /// The key of the lease.
    pub key: RefCell<Option<Rc<PoolKey>>>,
    /// Whether `lease` is still ours to release.
    pub holds: Cell<bool>,
    pub place: Cell<Option<WaitTicket>>,
    /// The lease whose slot is being locked on other machines.
    pub locking: Cell<Option<LeaseHandle>>,
    /// How often a lock has been asked for, and how many nodes granted the last one.
    pub rounds: Cell<u32>,
    pub votes: Cell<Option<u8>>,
    /// Its place among those of its priority, when it has waited before.
    pub arrival: Cell<Option<u64>>,
    /// Whether it has been in the queue.
    pub queued: Cell<bool>,
    pub deadline: RefCell<Option<Timer>>,
    /// When the first lease was asked for, and the last one.
    pub first_asked_ms: Cell<u64>,
    pub asked_ms: Cell<u64>,
    /// How often the request has been sent.
    pub attempts: Cell<u32>,
    /// How many of these do not count: they met a kept connection that the upstream had
    /// closed, or a key that is invalid or out of quota.
    pub uncounted: Cell<u32>,
    /// The keys that were of no use, and the targets: a bit for each.
    pub avoid: Cell<Avoid>,
    pub faulty: Cell<u64>,
    /// The targets whose upstream has failed it too often in the same way.
    pub spent: Cell<u64>,
    pub errors: RefCell<UpstreamErrors>,
    /// How long to pause before the next attempt.
    pub pause_ms: Cell<u64>,
    /// The leave that a circuit has given it, until the outcome is told.
    pub pass: Cell<Option<Pass>>,
    /// What the last answer says.
    pub verdict: Cell<Option<Verdict>>,
    pub wait_ms: Cell<u64>,
    pub hold_ms: Cell<u64>,
    pub refusal: Cell<Option<ApiError>>,
    pub reply: Cell<Reply>,
    /// What a caller of the lock service wishes; `None` of a request that is sent upstream.
    pub wishes: Cell<Option<Wishes>>,
    /// What the lock service keeps of it.
    pub service: OnceCell<Box<dyn Any>>,
    /// What restores the name of an alias in the answer.
    pub editor: RefCell<Option<Rc<Editor>>>,
    /// The status of the upstream's answer, once it goes to the client.
    pub answered: Cell<Option<u16>>,
    /// Where that answer is, if it is an event stream.
    pub events: Cell<Option<EventEnd>>,
    /// Reads the usage of that answer.
    pub meter: RefCell<Option<Meter>>,
    /// Takes what the gateway has asked a stream for out of it.
    pub stripper: RefCell<Option<UsageStripper>>,
    /// Whether the upstream has given its whole answer.
    pub complete: Cell<bool>,
    /// How many bytes more may be read of an answer whose client is gone, once it is.
    pub draining: Cell<Option<u64>>,
    /// Whether the client was gone before the upstream's answer was whole.
    pub left: Cell<bool>,
    /// Whether the end of the answer's body has gone with its last piece.
    pub joined: Cell<bool>,
    /// Whether it has been added to the totals.
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
            routed: Cell::default(),
            targets: RefCell::default(),
            target: Cell::default(),
            status: Cell::default(),
            lease: Cell::default(),
            key: RefCell::default(),
            holds: Cell::default(),
            place: Cell::default(),
            locking: Cell::default(),
            rounds: Cell::default(),
            votes: Cell::default(),
            arrival: Cell::default(),
            queued: Cell::default(),
            deadline: RefCell::default(),
            first_asked_ms: Cell::default(),
            asked_ms: Cell::default(),
            attempts: Cell::default(),
            uncounted: Cell::default(),
            avoid: Cell::default(),
            faulty: Cell::default(),
            spent: Cell::default(),
            errors: RefCell::default(),
            pause_ms: Cell::default(),
            pass: Cell::default(),
            verdict: Cell::default(),
            wait_ms: Cell::default(),
            hold_ms: Cell::default(),
            refusal: Cell::default(),
            reply: Cell::default(),
            wishes: Cell::default(),
            service: OnceCell::new(),
            editor: RefCell::default(),
            answered: Cell::default(),
            events: Cell::default(),
            meter: RefCell::default(),
            stripper: RefCell::default(),
            complete: Cell::default(),
            draining: Cell::default(),
            left: Cell::default(),
            joined: Cell::default(),
            counted: Cell::default(),
            trace: OnceCell::new(),
        }
    }

    /// Gives up the place in the queue and the lease, whichever there is.
    pub fn let_go(&self) {
        self.deadline.take();
        if let Some(pass) = self.pass.take() {
            circuits::unknown(pass);
        }
        if let Some(place) = self.place.take() {
            self.wait_ms
                .set(now().mono_ms.saturating_sub(self.asked_ms.get()));
            pool::leave(place);
        }
        if let Some(handle) = self.locking.take() {
            self.wait_ms
                .set(now().mono_ms.saturating_sub(self.asked_ms.get()));
            locks::end(handle);
        }
        if self.holds.replace(false)
            && let Some(lease) = self.lease.get()
        {
            self.hold_ms
                .set(now().mono_ms.saturating_sub(lease.grant.granted_ms));
            pool::release(&lease);
        }
    }

    /// The lease is somebody else's by now: there is nothing to release.
    pub fn note_lost(&self) {
        self.hold_ms.set(self.held_ms().unwrap_or_default());
        self.holds.set(false);
        self.status.set(LeaseStatus::Lost);
    }

    /// An internal redirect has sent the request through the phases anew.
    pub fn restart(&self) {
        self.let_go();
        self.lease.set(None);
        self.key.take();
        self.routed.set(None);
        self.editor.take();
        self.targets.take();
        self.target.set(None);
        self.stage.set(Stage::Fresh);
        self.status.set(LeaseStatus::None);
        self.refusal.set(None);
        self.arrival.set(None);
        self.queued.set(false);
        self.attempts.set(0);
        self.uncounted.set(0);
        self.answered.set(None);
        self.events.set(None);
        self.meter.replace(None);
        self.stripper.replace(None);
        self.complete.set(false);
        self.draining.set(None);
        self.left.set(false);
        self.joined.set(false);
        self.avoid.set(Avoid::default());
        self.faulty.set(0);
        self.spent.set(0);
        self.errors.borrow_mut().clear();
        self.pause_ms.set(0);
        self.verdict.set(None);
        self.rounds.set(0);
        self.votes.set(None);
        self.wishes.set(None);
    }

    /// How long the lease has been held, or was.
    pub fn held_ms(&self) -> Option<u64> {
        let lease = self.lease.get()?;
        if self.holds.get() {
            return Some(now().mono_ms.saturating_sub(lease.grant.granted_ms));
        }
        Some(self.hold_ms.get())
    }

    /// How long it waited for the lease, or has waited.
    pub fn waited_ms(&self) -> u64 {
        if self.place.get().is_some() || self.locking.get().is_some() {
            return now().mono_ms.saturating_sub(self.asked_ms.get());
        }
        self.wait_ms.get()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.let_go();
    }
}

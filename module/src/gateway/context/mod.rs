//! State of a request, which its steps share.

mod access;
mod attempt;
mod head;
mod lock;
mod log;
mod refusal;
mod route;
mod wait;

pub use access::AccessState;
pub use attempt::{Attempt, LeaseState};
pub use head::HeadState;
pub use lock::{Acquiring, Extending, LockCall, Pending, Requested};
pub use log::LogState;
pub use refusal::{RefusalState, Reply};
pub use route::Route;
pub use wait::{LeaseStatus, Wait};

use std::cell::{Cell, OnceCell, RefCell};

use nginx_safe::{Request, Token};
use openai_core::attempts::Retries;
use openai_wire::ApiError;

use crate::pool::Lease;

/// Position of a request on its path: the next step, or what it waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    #[default]
    Fresh,
    /// Its body is being read; its head is read next.
    Body,
    /// The quota of its client is checked next.
    Admit,
    /// Its targets are found next.
    Route,
    /// An attempt is over, and another one follows, after a delay.
    Again { pause_ms: u64 },
    /// It pauses before the next attempt, without a lease.
    Pausing,
    /// A target is chosen next.
    Target,
    /// A lease is asked for next.
    Lease,
    /// It is in the queue, or its slot is being locked.
    Waiting,
    /// It has a lease.
    Leased,
    /// The nodes are asked to extend a service lock.
    Prolonging,
    /// It is sent next.
    Send,
    /// It is refused next.
    Refused(ApiError),
    /// It has been sent, or answered.
    Done,
}

/// State of a request, with a part for each step.
pub struct Context {
    pub token: Token,
    stage: Cell<Stage>,
    /// Whether the other handlers of PRECONTENT have run, for this request or the one that it is a
    /// clone of: see [`enters_precontent`](crate::gateway::enters_precontent).
    pub is_past_others: Cell<bool>,
    pub access: AccessState,
    pub head: HeadState,
    pub route: RefCell<Route>,
    pub retries: RefCell<Retries>,
    pub attempt: RefCell<Attempt>,
    pub refusal: RefusalState,
    pub log: LogState,
    lock: OnceCell<Box<LockCall>>,
}

impl Context {
    pub fn new(token: Token) -> Self {
        Self {
            token,
            stage: Cell::default(),
            is_past_others: Cell::default(),
            access: AccessState::default(),
            head: HeadState::default(),
            route: RefCell::default(),
            retries: RefCell::default(),
            attempt: RefCell::default(),
            refusal: RefusalState::default(),
            log: LogState::default(),
            lock: OnceCell::new(),
        }
    }

    /// The context of the request. Creates it if there is none, and resets it after an
    /// internal redirect.
    pub fn of<'a>(request: &Request<'a>) -> Option<&'a Self> {
        if let Some(ctx) = request.context::<Self>() {
            return Some(ctx);
        }
        if let Some(ctx) = request.adopt::<Self>() {
            ctx.restart();
            return Some(ctx);
        }
        request.attach(Self::new)
    }

    /// Resets the context, because an internal redirect runs the phases again.
    fn restart(&self) {
        self.release();
        let Wait {
            asked_ms, took_ms, ..
        } = self.wait();
        self.attempt.take();
        self.note_wait(|wait| (wait.asked_ms, wait.took_ms) = (asked_ms, took_ms));
        self.route.take();
        self.retries.take();
        self.head.restart();
        self.stage.set(Stage::Fresh);
        self.is_past_others.set(false);
        self.refusal.error.set(None);
        if let Some(lock) = self.lock.get() {
            lock.restart();
        }
    }

    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Sets the next stage. Only the driver calls this.
    pub(super) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
    }

    /// Ends the current attempt and begins the next one.
    pub fn begin_attempt(&self) {
        self.release();
        let next = Attempt::after(&self.attempt.borrow());
        // Drop the previous attempt while nothing is borrowed.
        drop(self.attempt.replace(next));
    }

    /// State of the call, if this is a request to the lock service.
    pub fn lock_call(&self) -> Option<&LockCall> {
        self.lock.get().map(|lock| &**lock)
    }

    /// State of the call; creates it. Use it for requests to the lock service only.
    pub fn as_lock_call(&self) -> &LockCall {
        self.lock.get_or_init(Box::default)
    }

    /// What a caller of the lock service asks for; `None` if the request is sent upstream.
    pub fn requested(&self) -> Option<Requested> {
        self.lock.get()?.requested.get()
    }

    /// The current or last wait for a lease.
    pub fn wait(&self) -> Wait {
        self.attempt.borrow().wait
    }

    /// Changes the state of the wait.
    pub fn note_wait(&self, change: impl FnOnce(&mut Wait)) {
        change(&mut self.attempt.borrow_mut().wait);
    }

    /// The current or last lease.
    pub fn lease(&self) -> Option<Lease> {
        self.attempt.borrow().lease
    }

    /// The lease that the request holds now.
    pub fn held(&self) -> Option<Lease> {
        self.attempt.borrow().held()
    }

    /// The id of the key of the last lease.
    pub fn key_id(&self) -> Option<String> {
        let attempt = self.attempt.borrow();
        attempt.key.as_ref().map(|key| key.id.clone())
    }

    /// How long the current or last lease has been held, in milliseconds. `None` if it has become
    /// a lock of a service.
    pub fn held_ms(&self) -> Option<u64> {
        let attempt = self.attempt.borrow();
        let lease = attempt.lease?;
        match attempt.lease_state {
            LeaseState::Held => Some(lease.held_ms()),
            LeaseState::Entrusted => None,
            LeaseState::Ended(held_ms) => Some(held_ms),
        }
    }

    /// How long the request has waited for the current or last lease, in milliseconds.
    pub fn waited_ms(&self) -> u64 {
        let mut wait = self.wait();
        if wait.ticket.is_some() || wait.locking.is_some() {
            wait.is_over();
        }
        wait.took_ms
    }
}

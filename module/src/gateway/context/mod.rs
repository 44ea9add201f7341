//! What a request carries from step to step.

mod attempt;
mod route;
mod wait;

pub use attempt::{Attempt, Retries};
pub use route::Route;
pub use wait::{LeaseStatus, Wait, Wishes};

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use nginx_safe::{Request, Timer, Token};
use openai_core::circuit::Permit;
use openai_core::clients::Client;
use openai_core::metrics::Endpoint;
use openai_wire::{ApiError, Head};

use super::trace::Ids;
use crate::config::{Main, PoolKey};
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
    endpoint: Cell<Option<Endpoint>>,
    pub route: RefCell<Route>,
    pub wait: Cell<Wait>,
    /// Ends a wait, a pause, or the reading of an answer.
    pub deadline: RefCell<Option<Timer>>,
    pub retries: RefCell<Retries>,
    /// The permission of a circuit, until the outcome is told.
    pub permit: Cell<Option<Permit>>,
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
            endpoint: Cell::default(),
            route: RefCell::default(),
            wait: Cell::default(),
            deadline: RefCell::default(),
            retries: RefCell::default(),
            permit: Cell::default(),
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
        self.endpoint.set(None);
        self.stage.set(Stage::Fresh);
        self.refusal.set(None);
        self.wishes.set(None);
    }

    /// Gives up the place in the queue and the lease, whichever there is.
    pub fn let_go(&self) {
        self.deadline.take();
        if let Some(permit) = self.permit.take() {
            circuits::unknown(permit);
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

    /// A new attempt begins, with this lease. The state of the one before is dropped as a whole.
    pub fn begin_attempt(&self, lease: Lease, key: Rc<PoolKey>, status: LeaseStatus) {
        let mut wait = self.wait.get();
        wait.is_over();
        wait.status = status;
        self.wait.set(wait);
        if self.lease().is_some() {
            // What is dropped is dropped when nothing is borrowed.
            drop(self.attempt.take());
        }
        let mut attempt = self.attempt.borrow_mut();
        attempt.lease = Some(lease);
        attempt.key = Some(key);
        attempt.holds = true;
        self.stage.set(Stage::Leased);
    }

    /// The endpoint of the request's path.
    pub fn endpoint(&self, request: &Request<'_>) -> Endpoint {
        let known = self.endpoint.get();
        let endpoint = known.unwrap_or_else(|| Endpoint::of(request.path()));
        self.endpoint.set(Some(endpoint));
        endpoint
    }

    /// Whose request it is.
    pub fn client<'a>(&self, main: &'a Main) -> Option<&'a Client> {
        main.clients.as_ref()?.as_slice().get(self.client.get()?)
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

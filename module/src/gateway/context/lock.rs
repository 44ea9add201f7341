//! State of a request to the lock service.
//!
//! It is here and not in `api/`, because nginx keeps one context of a module for each request. The
//! context must know the type of each of its parts, and the lease reads what the caller asks for.

use std::cell::{Cell, RefCell};

use nginx_safe::Answer;
use openai_core::admin::{Acquire, ApiRoute};
use openai_core::lease::{LeaseHandle, ServiceLock};

/// State of a request to the lock service.
#[derive(Default)]
pub struct LockCall {
    /// Priority and wait of the lease that it asks for.
    pub requested: Cell<Option<Requested>>,
    /// The call, while the request waits.
    pub call: RefCell<Option<Pending>>,
    /// The lock that it is about.
    pub lock: Cell<Option<LeaseHandle>>,
    /// The response, which the content handler sends.
    pub answer: RefCell<Option<Answer>>,
}

impl LockCall {
    /// Resets the state after an internal redirect.
    pub(super) fn restart(&self) {
        self.requested.take();
        self.call.take();
        self.answer.take();
    }
}

/// A call to the lock service that waits for something.
pub enum Pending {
    /// The request body.
    Body(ApiRoute),
    /// A slot, or the nodes' confirmation that they keep its lock for longer.
    Acquire(Box<Acquiring>),
    /// The nodes' confirmation that they extend a lock.
    Extend(Box<Extending>),
}

pub struct Acquiring {
    pub asked: Acquire,
    pub request: String,
    pub client: String,
    /// Until when the nodes keep the lock, in milliseconds of the monotonic clock.
    pub locked_until_ms: Option<u64>,
}

pub struct Extending {
    pub lock: ServiceLock,
    /// Whether the nodes keep the lock for the requested time.
    pub granted: bool,
}

/// Priority and wait that a caller of the lock service asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requested {
    /// `None` for the priority of the client.
    pub priority: Option<i32>,
    /// Longest time to wait for a slot, in milliseconds.
    pub wait_ms: u64,
}

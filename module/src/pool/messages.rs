//! Messages to requests about their waits and leases.

use std::cell::Cell;

use nginx_safe::{Level, Token};
use openai_core::admin::lock_id;
use openai_core::lease::{Grant, LeaseHandle};
use serde_json::json;

use crate::telemetry::event;

/// A message to a request about its wait or its lease.
pub enum Message {
    /// The request has been granted a slot and left the queue. `arrival` is its position
    /// there within its priority, in case it must wait again.
    Served { grant: Grant, arrival: u64 },
    /// The nodes have locked the slot, with this number of votes. `asked` is the handle
    /// that the lease had when the lock was requested.
    Locked {
        asked: LeaseHandle,
        grant: Grant,
        votes: u8,
    },
    /// Too few nodes can vote: the slot is leased on this machine only.
    FallBack(Grant),
    /// The nodes are asked again for the same slots.
    NextRound,
    /// The slot is held by another machine; ask the zone for another.
    AskAgain,
    /// The slot is not locked, because too few nodes can vote, and must not be used without a lock.
    Unavailable,
    /// The nodes keep the lock until this time; `None` if they do not.
    Prolonged(Option<u64>),
    /// The lease is lost.
    Lost(LeaseHandle),
}

/// Passes a message to a request; returns `false` if the request is gone or does not wait for it.
pub type Receiver = fn(Token, Message) -> bool;

thread_local! {
    static RECEIVER: Cell<Receiver> = const { Cell::new(|_, _| false) };
}

/// Registers the function that passes messages to requests.
pub fn on_message(receiver: Receiver) {
    RECEIVER.set(receiver);
}

/// Passes a message to a request.
pub(super) fn send(token: Token, message: Message) -> bool {
    RECEIVER.get()(token, message)
}

/// Reports a lost lease to its request, or logs it if the request is gone.
pub(super) fn lost(token: Option<Token>, handle: LeaseHandle) {
    let is_sent = token.is_some_and(|token| send(token, Message::Lost(handle)));
    if !is_sent {
        let fields = json!({ "lock_id": lock_id(handle.nonce()) });
        event(Level::Error, "lease_lost", fields);
    }
}

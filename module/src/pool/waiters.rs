//! Requests that wait for a slot.

use nginx_safe::{Token, Watcher};
use openai_core::lease::{Cancelled, Served, WaitTicket};

use super::leases::give_back;
use super::messages::{self, Message};
use super::zone::{in_zone, with};
use super::{key_files, locks};
use crate::telemetry::now;

/// Leaves the queue, and releases the slot if one has just been granted.
pub fn leave(ticket: WaitTicket) {
    let left = with(|worker| worker.change(|zone| zone.cancel(ticket))).flatten();
    if let Some(Cancelled::Served(grant)) = left {
        give_back(&grant);
    }
}

/// Handles the signal of another worker that has granted slots to this worker's waiters.
pub(super) struct ServedWatcher;

impl Watcher for ServedWatcher {
    fn woken() {
        collect();
    }
}

/// Passes the leases that have been granted to this worker's waiters to them.
pub(super) fn collect() {
    let mut served: Vec<Served> = vec![];
    let (mut newer, mut recalls) = (None, 0);
    with(|worker| {
        let id = worker.id;
        let deadline = worker.change(|zone| {
            served.extend(std::iter::from_fn(|| zone.collect(id, now())));
            newer = zone.newer_keys(id);
            recalls = zone.recalls();
            zone.next_deadline().filter(|_| zone.has_waiters())
        });
        // A waiter whose lease expired before it was collected waits again, and the worker that
        // watched the deadline may have exited.
        if let Some(deadline) = deadline.flatten() {
            worker.watch(deadline);
        }
    });
    locks::end_recalled(recalls);
    if let Some(generation) = newer {
        key_files::read_soon(generation);
    }
    for Served {
        tag,
        grant,
        arrival,
    } in served
    {
        let taken = messages::send(Token::of(tag), Message::Served { grant, arrival });
        if !taken {
            give_back(&grant);
        }
    }
}

/// Starts the timer that serves waiters when the next deadline of a slot passes. Nothing
/// else serves them if the slot is held by another machine or by a worker that hangs.
pub fn watch_expiry() {
    with(|worker| {
        let next = worker.change(|zone| zone.next_deadline().filter(|_| zone.has_waiters()));
        if let Some(deadline) = next.flatten() {
            worker.watch(deadline);
        }
    });
}

pub(super) fn expire() {
    in_zone(|zone| zone.expire(now()));
    collect();
    watch_expiry();
}

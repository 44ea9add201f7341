//! Requests that wait for a slot, and how they are served.

use nginx_safe::{Token, Watcher};
use openai_core::lease::{Cancelled, Served, WaitTicket};

use super::key_files;
use super::leases::give_back;
use super::news::{self, News};
use super::zone::{in_zone, with};
use crate::telemetry::now;

/// Gives up a place in the queue.
pub fn leave(ticket: WaitTicket) {
    let left = with(|worker| worker.change(|zone| zone.cancel(ticket))).flatten();
    if let Some(Cancelled::Served(grant)) = left {
        give_back(&grant);
    }
}

/// The eventfd by which other workers tell that a waiter of ours was served.
pub(super) struct Mail;

impl Watcher for Mail {
    fn woken() {
        collect();
    }
}

/// Hands out the leases that our waiters were served with.
pub(super) fn collect() {
    let mut served: Vec<Served> = vec![];
    let mut newer = None;
    let watched = with(|worker| {
        let id = worker.id;
        let waits = worker.change(|zone| {
            served.extend(std::iter::from_fn(|| zone.collect(id, now())));
            newer = zone.newer_keys(id);
            zone.has_waiters()
        });
        waits != Some(true) || worker.expiry.is_started()
    });
    if let Some(generation) = newer {
        key_files::hurry(generation);
    }
    if watched == Some(false) {
        // One that was served too late waits again.
        watch_expiry();
    }
    for Served {
        tag,
        grant,
        arrival,
    } in served
    {
        let taken = news::tell(Token::of(tag), News::Served { grant, arrival });
        if !taken {
            give_back(&grant);
        }
    }
}

/// Has waiters served when the next lease ends: on another machine, or of a worker
/// that stands still, nobody else does it.
pub fn watch_expiry() {
    with(|worker| {
        let next = worker.change(|zone| zone.next_deadline().filter(|_| zone.has_waiters()));
        if let Some(deadline) = next.flatten() {
            worker
                .expiry
                .start(deadline.saturating_sub(now().mono_ms).max(1));
        }
    });
}

pub(super) fn expire() {
    in_zone(|zone| zone.expire(now()));
    collect();
    watch_expiry();
}

//! Locks of services on the nodes: no request's, so that any worker sees to them.
//!
//! Such a lock is locked for as long as it is to last, so that it outlives its machine.
//! Nodes that have forgotten it are told of it again at every renewal.

use openai_core::lease::{Grant, LeaseHandle, Lock, ServiceLock};
use rustc_hash::FxHashMap;
use serde_json::json;

use super::{LOCKS, Place, with};
use crate::adapter::now;
use crate::adapter::redis::{SlotCommands, clock};
use crate::ffi::{Level, Token};
use crate::log::event;
use crate::phase;
use crate::worker::{self, in_zone};
use std::rc::Rc;

/// A lock that nodes have been asked to prolong.
pub(super) struct Prolonging {
    key: u32,
    ordinal: u32,
    lock: Lock,
    /// The request that waits for it.
    token: Option<Token>,
}

pub(super) type Services = FxHashMap<LeaseHandle, Prolonging>;

/// For how long a slot is left alone that turned out to be another's.
const LOST_MS: u64 = 1_000;
/// For how long a slot may take to be given back.
const GIVE_BACK_MS: u64 = 5_000;

/// Has the nodes keep the lock of a request's lease for longer; [`phase::api::prolonged`]
/// hears of it.
pub fn prolong_lease(handle: LeaseHandle, for_ms: u64, token: Token) {
    let found = LOCKS.with_borrow_mut(|locks| {
        let hold = locks.holds.get_mut(&handle)?;
        // A renewal asks for less.
        hold.prolonging = true;
        Some((hold.grant.key, hold.grant.ordinal, hold.lock?))
    });
    let asked = found.is_some_and(|(key, ordinal, lock)| {
        let prolonging = Prolonging {
            key,
            ordinal,
            lock,
            token: Some(token),
        };
        ask(handle, prolonging, (for_ms, false))
    });
    if !asked {
        token.with(|request| phase::api::prolonged(request, None));
    }
}

/// The same for a lock of a service; `false` if this worker does not know its slot.
pub fn prolong_service(lock: &ServiceLock, for_ms: u64, token: Token) -> bool {
    lock.lock.is_some_and(|on_nodes| {
        let prolonging = Prolonging {
            key: lock.key,
            ordinal: lock.ordinal,
            lock: on_nodes,
            token: Some(token),
        };
        ask(lock.handle, prolonging, (for_ms, false))
    })
}

/// Has the nodes keep a lock for so long; for longer, if they do already and it may be.
fn ask(handle: LeaseHandle, prolonging: Prolonging, how: (u64, bool)) -> bool {
    let lock = prolonging.lock;
    let found = LOCKS.with_borrow_mut(|locks| {
        let place = Rc::clone(locks.places.get(&prolonging.key)?);
        let slot = Rc::clone(place.slots.get(prolonging.ordinal as usize)?);
        locks.services.insert(handle, prolonging);
        Some((place, slot))
    });
    let Some((place, slot)) = found else {
        return false;
    };
    let asked = with(place.group, |member, _, done| {
        let lock = (handle, slot.slot.clone(), lock);
        member
            .group
            .keep_for(&place.names, how, lock, clock(), done);
    });
    asked.is_some()
}

/// The nodes have answered: a majority keeps the lock until then, or none does.
pub(super) fn concluded(handle: LeaseHandle, until_ms: Option<u64>) {
    let Some(asked) = LOCKS.with_borrow_mut(|locks| locks.services.remove(&handle)) else {
        return;
    };
    let heard = asked
        .token
        .and_then(|token| token.with(|request| phase::api::prolonged(request, until_ms)));
    if heard.is_some() {
        if until_ms.is_none() {
            take_back(handle, asked);
        }
        return;
    }
    // Who asked has gone, or nobody did; and another worker may have given the lock
    // back while nodes were told of it.
    let held = in_zone(|zone| {
        let id = handle.nonce();
        let longer = asked.token.and(until_ms);
        let lock = match longer {
            Some(until_ms) => zone.prolong_service_lock(id, until_ms),
            None => zone.service_lock(id),
        };
        lock.is_some_and(|lock| lock.lock.is_some())
    });
    if held == Some(false) {
        give_back(asked.key, asked.ordinal, asked.lock);
    }
}

/// Too few nodes have prolonged a service's lock: those that have shall not keep it
/// for longer than the others.
fn take_back(handle: LeaseHandle, asked: Prolonging) {
    let now = now();
    let lock = in_zone(|zone| zone.service_lock(handle.nonce())).flatten();
    let left_ms = lock
        .filter(|lock| lock.lock.is_some())
        .map(|lock| lock.until_ms.saturating_sub(now.mono_ms));
    if let Some(left_ms) = left_ms.filter(|&left_ms| left_ms > 0) {
        let again = Prolonging {
            token: None,
            ..asked
        };
        ask(handle, again, (left_ms, false));
    }
}

/// The nodes say that a lock is another's. `false` if it is none of a service.
pub(super) fn lost(handle: LeaseHandle) -> bool {
    let Some(asked) = LOCKS.with_borrow_mut(|locks| locks.services.remove(&handle)) else {
        return false;
    };
    let lost = in_zone(|zone| zone.lose_service_lock(handle, LOST_MS, now())).flatten();
    if let Some(lock) = lost {
        worker::watch_expiry();
        let fields = json!({
            "lock_id": format!("{:032x}", handle.nonce()),
            "request_id": lock.request,
            "service_name": lock.service,
            "client": lock.client,
        });
        event(Level::Error, "lock_lost", fields);
    }
    if let Some(token) = asked.token {
        token.with(|request| phase::api::prolonged(request, None));
    }
    true
}

/// Sees to the locks of services on a group's nodes that nobody has seen to for that long.
pub(super) fn tend(group: usize, every_ms: u64) {
    let now = now();
    let due = LOCKS.with_borrow(|locks| {
        let of = |key| {
            locks
                .places
                .get(&key)
                .is_some_and(|place| place.group == group)
        };
        in_zone(|zone| zone.service_locks_to_tend(of, every_ms, now))
    });
    for (grant, lock) in due.into_iter().flatten() {
        let under_way = LOCKS.with_borrow(|locks| locks.services.contains_key(&grant.handle));
        let left_ms = grant.deadline_ms.saturating_sub(now.mono_ms);
        if !under_way && left_ms > 0 {
            let prolonging = Prolonging {
                key: grant.key,
                ordinal: grant.ordinal,
                lock,
                token: None,
            };
            // Another worker may have prolonged it meanwhile.
            ask(grant.handle, prolonging, (left_ms, true));
        }
    }
}

/// A lease is a service's from now on: its lock is none of a request's.
pub fn entrusted(handle: LeaseHandle) {
    drop(super::forget(handle));
}

/// For how long a worker may take to give a service's slot back.
pub fn give_back_ms() -> u64 {
    GIVE_BACK_MS
}

/// Gives back what a service held, and which is this worker's now.
pub fn give_back_service(grant: &Grant) {
    let held = grant.lock.filter(|&lock| {
        let noted = LOCKS.with_borrow_mut(|locks| locks.hold(grant, None, Some(lock)));
        noted.is_some()
    });
    match held {
        Some(lock) => super::unlock(grant.handle, lock),
        // A key that this configuration does not know.
        None => drop(in_zone(|zone| zone.release(grant.handle, now()))),
    }
}

/// Gives back a lock that the nodes may have been told of after its end.
pub fn give_back_stray(lock: &ServiceLock) {
    if let Some(on_nodes) = lock.lock {
        give_back(lock.key, lock.ordinal, on_nodes);
    }
}

fn give_back(key: u32, ordinal: u32, lock: Lock) {
    let found = LOCKS.with_borrow(|locks| {
        let place: &Rc<Place> = locks.places.get(&key)?;
        let slot: &Rc<SlotCommands> = place.slots.get(ordinal as usize)?;
        Some((Rc::clone(place), slot.slot.clone()))
    });
    if let Some((place, slot)) = found {
        with(place.group, |member, _, _| {
            member.group.give_back_lock(&place.names, slot, lock);
        });
    }
}

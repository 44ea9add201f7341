//! Locks of services on the nodes: no request's, so that any worker sees to them.
//!
//! Such a lock is locked for as long as it is to last, so that it outlives its machine.
//! Nodes that have forgotten it are told of it again at every renewal. The zone knows
//! how long nodes were ever asked to keep it: when it has ended, by whatever, they are
//! told so until all have answered.

use std::rc::Rc;

use nginx_safe::{Level, Token};
use openai_core::lease::{Grant, LeaseHandle, Lock, ServiceLock, Stray};
use openai_core::redlock::Operation;
use redis_nodes::{GiveBack, Kept, SlotCommands};
use serde_json::json;

use super::{LOCKS, LockedKey, late, with};
use crate::pool::news::{self, News};
use crate::pool::nodes::clock;
use crate::pool::{self, in_zone};
use crate::telemetry::{event, now};

/// What nodes have been asked.
pub(super) struct Asked {
    handle: LeaseHandle,
    whom: For,
}

/// For whom.
#[derive(Clone, Copy)]
enum For {
    /// A request whose lease is to become a lock.
    Lease(Token),
    /// A request that prolongs a lock, until then.
    Extend(Token, u64),
    /// Nobody: nodes may have forgotten it.
    Nobody,
}

/// A lock to be asked for.
struct Target {
    key: u32,
    ordinal: u32,
    lock: Lock,
}

/// For how long a slot is left alone that turned out to be another's.
const LOST_MS: u64 = 1_000;
/// For how long a slot may take to be given back.
const GIVE_BACK_MS: u64 = 5_000;

/// Has the nodes keep the lock of a request's lease for longer; the request
/// hears of it. By when it has, in milliseconds; `None` if it cannot be asked for.
pub fn prolong_lease(handle: LeaseHandle, for_ms: u64, token: Token) -> Option<u64> {
    let target = LOCKS.with_borrow_mut(|locks| {
        let hold = locks.holds.get_mut(&handle)?;
        // A renewal asks for less.
        hold.prolonging = true;
        hold.retold = true;
        Some(Target {
            key: hold.grant.key,
            ordinal: hold.grant.ordinal,
            lock: hold.lock?,
        })
    });
    let whom = For::Lease(token);
    ask(Asked { handle, whom }, &target?, for_ms)
}

/// The same for a lock of a service, to last until then.
pub fn prolong_service(lock: &ServiceLock, until_ms: u64, token: Token) -> Option<u64> {
    let target = Target {
        key: lock.key,
        ordinal: lock.ordinal,
        lock: lock.lock?,
    };
    let for_ms = until_ms.saturating_sub(now().mono_ms);
    let asked_ms = asked_until(target.key, for_ms)?;
    let id = lock.handle.nonce();
    // First: what nodes are asked must be known to whoever ends the lock.
    if in_zone(|zone| zone.ask_for_service_lock(id, asked_ms)) != Some(true) {
        return None;
    }
    let asked = Asked {
        handle: lock.handle,
        whom: For::Extend(token, until_ms),
    };
    ask(asked, &target, for_ms)
}

/// Until when nodes keep a lock of this key that is asked for now, to be valid for so long.
pub fn asked_until(key: u32, for_ms: u64) -> Option<u64> {
    LOCKS.with_borrow(|locks| {
        let locked_key = locks.locked_keys.get(&key)?;
        let member = locks.member(locked_key.group)?;
        Some(clock() + member.group.ttl_for(for_ms))
    })
}

/// The slot of a lock, as nodes know it.
fn locked_slot(key: u32, ordinal: u32) -> Option<(Rc<LockedKey>, Rc<SlotCommands>)> {
    LOCKS.with_borrow(|locks| {
        let locked_key = locks.locked_keys.get(&key)?;
        let slot = locked_key.slots.get(ordinal as usize)?;
        Some((Rc::clone(locked_key), Rc::clone(slot)))
    })
}

/// Has the nodes keep a lock so that it is valid for so long from now.
fn ask(asked: Asked, target: &Target, for_ms: u64) -> Option<u64> {
    let (locked_key, slot) = locked_slot(target.key, target.ordinal)?;
    let now = clock();
    let due = LOCKS.with_borrow(|locks| {
        let member = locks.member(locked_key.group)?;
        Some(member.group.concluded_by(now))
    })?;
    let operation = LOCKS.with_borrow_mut(|locks| locks.operations.begin(asked, due));
    with(locked_key.group, |member, _, done| {
        let lock = (&slot.slot, &target.lock);
        member
            .group
            .keep_for(&locked_key.names, for_ms, lock, operation, now, done);
    });
    Some(due - now)
}

/// The nodes have answered.
pub(super) fn concluded(operation: Operation, kept: Kept) {
    let asked = LOCKS.with_borrow_mut(|locks| locks.operations.conclude(operation));
    if let Some(asked) = asked {
        conclude(asked, kept);
    }
}

/// Ends what should have been answered long ago. Cannot be: the group ends it before.
pub(super) fn give_up_late() {
    let late = LOCKS.with_borrow_mut(|locks| locks.operations.overdue(clock()));
    for asked in late {
        conclude(asked, Kept::Refused);
    }
}

fn conclude(asked: Asked, kept: Kept) {
    let handle = asked.handle;
    if kept == Kept::Lost {
        lost(handle);
    }
    match (asked.whom, kept) {
        (For::Lease(token), kept) => {
            let until_ms = match kept {
                Kept::Until(until_ms) => Some(until_ms),
                Kept::Refused | Kept::Lost => None,
            };
            news::tell(token, News::Prolonged(until_ms));
        }
        // Also when who asked has gone: the nodes keep it.
        (For::Extend(token, asked_ms), Kept::Until(until_ms)) if until_ms >= asked_ms => {
            in_zone(|zone| {
                zone.expire(now());
                zone.prolong_service_lock(handle.nonce(), asked_ms)
            });
            pool::watch_expiry();
            news::tell(token, News::Prolonged(Some(asked_ms)));
        }
        (For::Extend(token, _), _) => {
            see_to_end(handle);
            news::tell(token, News::Prolonged(None));
        }
        (For::Nobody, _) => {}
    }
}

/// Too few nodes have prolonged a lock, and some may keep it for longer than its service
/// has it: they are told when it ends.
fn see_to_end(handle: LeaseHandle) {
    let lock = in_zone(|zone| zone.service_lock(handle.nonce())).flatten();
    let Some(lock) = lock else { return };
    if let Some((locked_key, _)) = locked_slot(lock.key, lock.ordinal) {
        with(locked_key.group, |member, _, _| {
            let left_ms = lock.until_ms.saturating_sub(clock());
            member.ends.start(left_ms.clamp(1, member.renewal_ms));
        });
    }
}

/// The nodes say that a lock is another's.
fn lost(handle: LeaseHandle) {
    let lost = in_zone(|zone| zone.lose_service_lock(handle, LOST_MS, now())).flatten();
    if let Some(lock) = lost {
        pool::watch_expiry();
        let fields = json!({
            "lock_id": format!("{:032x}", handle.nonce()),
            "request_id": lock.request,
            "service_name": lock.service,
            "client": lock.client,
        });
        event(Level::Error, "lock_lost", fields);
    }
}

/// Sees to the locks of services on a group's nodes that nobody has seen to for as long
/// as a renewal takes.
pub(super) fn tend(group: usize) {
    let now = now();
    let due = LOCKS.with_borrow(|locks| {
        let every_ms = locks.member(group)?.renewal_ms;
        let of = |key| {
            let locked_key = locks.locked_keys.get(&key);
            locked_key.is_some_and(|locked_key| locked_key.group == group)
        };
        in_zone(|zone| zone.service_locks_to_tend(of, every_ms, now))
    });
    let Some(due) = due else { return };
    for (grant, lock) in due.keep {
        let target = Target {
            key: grant.key,
            ordinal: grant.ordinal,
            lock,
        };
        let asked = Asked {
            handle: grant.handle,
            whom: For::Nobody,
        };
        // Those that keep it for longer go on doing so.
        let left_ms = grant.deadline_ms.saturating_sub(now.mono_ms);
        if left_ms > 0 {
            ask(asked, &target, left_ms);
        }
    }
    due.give_back.iter().for_each(give_back_stray);
    let left_ms = due.next_ms.map(|at| at.saturating_sub(now.mono_ms) + 1);
    with(group, |member, _, _| {
        if let Some(left_ms) = left_ms.filter(|&left_ms| left_ms < member.renewal_ms) {
            member.ends.start(left_ms);
        }
    });
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
    late::make(late::Change::GiveBackService(*grant));
}

pub(super) fn give_back_now(grant: &Grant) {
    let held = grant.lock.filter(|&lock| {
        LOCKS.with_borrow_mut(|locks| {
            let noted = locks.hold(grant, None, Some(lock)).is_some();
            if let Some(hold) = locks.holds.get_mut(&grant.handle) {
                hold.of_service = true;
            }
            noted
        })
    });
    match held {
        Some(lock) => super::unlock(grant.handle, lock),
        // A key that this configuration does not know.
        None => drop(in_zone(|zone| zone.release(grant.handle, now()))),
    }
}

/// Gives back a lock that has ended here, and that nodes may keep.
fn give_back_stray(stray: &Stray) {
    if let Some((locked_key, slot)) = locked_slot(stray.key, stray.ordinal) {
        with(locked_key.group, |member, _, done| {
            let lock = GiveBack {
                lock: stray.lock,
                retold: true,
                settles: true,
                handle: stray.handle,
            };
            member.group.unlock(&slot, lock, clock(), done);
        });
    }
}

//! Service locks on the nodes. They belong to no request, so any worker maintains them.
//!
//! The nodes are asked to keep such a lock for its whole duration, so that it outlives this
//! machine. Every renewal restores it on nodes that have lost it. The zone records the
//! latest time until which nodes were asked to keep it: after it has ended, for whatever
//! reason, the nodes are asked to delete it until all have answered.

use std::rc::Rc;

use nginx_safe::{Level, Token};
use openai_core::lease::{Grant, LeaseHandle, Lock, ServiceLock, Stray};
use redis_nodes::{GiveBack, Kept, Operation, SlotCommands};
use serde_json::json;

use super::{LOCKS, LockedKey, late, with};
use crate::pool::messages::{self, Message};
use crate::pool::nodes::clock;
use crate::pool::{self, in_zone};
use crate::telemetry::{event, now};

/// A pending request to the nodes.
pub(super) struct ServiceCall {
    handle: LeaseHandle,
    whom: For,
    due_ms: u64,
}

/// Who is notified of the result.
#[derive(Clone, Copy)]
enum For {
    /// A request whose lease is to become a service lock.
    Lease(Token),
    /// A request that extends a service lock until this time.
    Extend(Token, u64),
    /// No request: the lock is restored on nodes that have lost it.
    Nobody,
}

/// The slot and lock that the nodes are asked to keep.
struct ServiceSlot {
    key: u32,
    ordinal: u32,
    lock: Lock,
}

/// How long a slot is not granted after its lock turned out to belong to another machine,
/// in milliseconds.
const LOST_MS: u64 = 1_000;
/// How long a slot may be held while its lock is being released, in milliseconds.
const GIVE_BACK_MS: u64 = 5_000;

/// Asks the nodes to keep the lock of a request's lease for longer; the request receives
/// the result as [`Message::Prolonged`]. Returns the milliseconds within which it does, or
/// `None` if the nodes cannot be asked.
pub fn prolong_lease(handle: LeaseHandle, for_ms: u64, token: Token) -> Option<u64> {
    let target = LOCKS.with_borrow_mut(|locks| {
        let hold = locks.holds.get_mut(&handle)?;
        // A renewal in between would ask for a shorter time.
        hold.prolonging = true;
        hold.may_be_extended = true;
        Some(ServiceSlot {
            key: hold.grant.key,
            ordinal: hold.grant.ordinal,
            lock: hold.lock?,
        })
    });
    let whom = For::Lease(token);
    ask((handle, whom), &target?, for_ms)
}

/// Asks the nodes to keep a service lock until this time; otherwise like [`prolong_lease`].
pub fn prolong_service(lock: &ServiceLock, until_ms: u64, token: Token) -> Option<u64> {
    let target = ServiceSlot {
        key: lock.key,
        ordinal: lock.ordinal,
        lock: lock.lock?,
    };
    let for_ms = until_ms.saturating_sub(now().mono_ms);
    let asked_ms = asked_until(target.key, for_ms)?;
    let id = lock.handle.nonce();
    // Record this before asking: the worker that ends the lock must know how long nodes may
    // keep it.
    if in_zone(|zone| zone.ask_for_service_lock(id, asked_ms)) != Some(true) {
        return None;
    }
    let whom = For::Extend(token, until_ms);
    ask((lock.handle, whom), &target, for_ms)
}

/// Until when nodes would be asked to keep a lock of this key if it should be valid for
/// `for_ms` from now.
pub fn asked_until(key: u32, for_ms: u64) -> Option<u64> {
    LOCKS.with_borrow(|locks| {
        let locked_key = locks.locked_keys.get(&key)?;
        let member = locks.member(locked_key.group)?;
        Some(clock() + member.group.ttl_for(for_ms))
    })
}

/// The slot of a lock, with its name on the nodes.
fn locked_slot(key: u32, ordinal: u32) -> Option<(Rc<LockedKey>, Rc<SlotCommands>)> {
    LOCKS.with_borrow(|locks| {
        let locked_key = locks.locked_keys.get(&key)?;
        let slot = locked_key.slot(ordinal)?;
        Some((Rc::clone(locked_key), slot))
    })
}

/// Asks the nodes to keep a lock so that it is valid for `for_ms` from now. Returns the
/// milliseconds within which the result is known.
fn ask((handle, whom): (LeaseHandle, For), target: &ServiceSlot, for_ms: u64) -> Option<u64> {
    let (locked_key, slot) = locked_slot(target.key, target.ordinal)?;
    let now = clock();
    let (operation, due_ms) = LOCKS.with_borrow_mut(|locks| {
        let due_ms = locks.member(locked_key.group)?.group.concluded_by(now);
        let asked = ServiceCall {
            handle,
            whom,
            due_ms,
        };
        Some((locks.operations.insert(asked), due_ms))
    })?;
    with(locked_key.group, |member, _, done| {
        let lock = (&slot.slot, &target.lock);
        member
            .group
            .keep_for(&locked_key.names, for_ms, lock, operation, now, done);
    });
    Some(due_ms - now)
}

/// Handles the result of a request to the nodes.
pub(super) fn concluded(operation: Operation, kept: Kept) {
    let asked = LOCKS.with_borrow_mut(|locks| locks.operations.remove(operation));
    if let Some(asked) = asked {
        conclude(asked, kept);
    }
}

/// Concludes overdue requests to the nodes. Not expected: the group concludes them earlier.
pub(super) fn give_up_late() {
    let now = clock();
    let late = LOCKS.with_borrow(|locks| {
        let all = locks.operations.iter();
        let late = all.filter(|(_, asked)| asked.due_ms <= now);
        late.map(|(operation, _)| operation).collect::<Vec<_>>()
    });
    for operation in late {
        concluded(operation, Kept::Refused);
    }
}

fn conclude(asked: ServiceCall, kept: Kept) {
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
            messages::send(token, Message::Prolonged(until_ms));
        }
        // Applies even if the requester is gone, because the nodes keep the lock.
        (For::Extend(token, asked_ms), Kept::Until(until_ms)) if until_ms >= asked_ms => {
            in_zone(|zone| {
                zone.expire(now());
                zone.prolong_service_lock(handle.nonce(), asked_ms)
            });
            pool::watch_expiry();
            messages::send(token, Message::Prolonged(Some(asked_ms)));
        }
        (For::Extend(token, _), _) => {
            see_to_end(handle);
            messages::send(token, Message::Prolonged(None));
        }
        (For::Nobody, _) => {}
    }
}

/// Schedules the end of a lock that too few nodes have extended. Some may keep it past its
/// end and must be asked to delete it then.
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

/// Ends a service lock that belongs to another machine according to the nodes.
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

/// Maintains the service locks of a group that no worker has maintained for one renewal interval.
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
        let target = ServiceSlot {
            key: grant.key,
            ordinal: grant.ordinal,
            lock,
        };
        // Nodes that keep the lock for longer do not shorten it.
        let left_ms = grant.deadline_ms.saturating_sub(now.mono_ms);
        if left_ms > 0 {
            ask((grant.handle, For::Nobody), &target, left_ms);
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

/// Stops renewing the lock of a lease that has become a service lock.
pub fn entrusted(handle: LeaseHandle) {
    drop(super::forget(handle));
}

/// How long a worker may take to release the slot of a service lock, in milliseconds.
pub fn give_back_ms() -> u64 {
    GIVE_BACK_MS
}

/// Releases a former service lock that now belongs to this worker.
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
        // This configuration does not know the key.
        None => drop(in_zone(|zone| zone.release(grant.handle, now()))),
    }
}

/// Releases a lock that has ended on this machine and that nodes may still keep.
fn give_back_stray(stray: &Stray) {
    if let Some((locked_key, slot)) = locked_slot(stray.key, stray.ordinal) {
        with(locked_key.group, |member, _, done| {
            let lock = GiveBack {
                lock: stray.lock,
                may_be_extended: true,
                settles: true,
                handle: stray.handle,
            };
            member.group.unlock(&slot, lock, clock(), done);
        });
    }
}

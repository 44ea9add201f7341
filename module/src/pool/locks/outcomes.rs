//! Results of attempts, renewals and releases.

use std::rc::Rc;

use nginx_safe::{Level, Token};
use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::PoolNames;
use redis_nodes::{GiveBack, GroupEvent};
use serde_json::json;

use super::waiting::after_turn;
use super::{
    Hold, LOCKS, attempt, cool_downs, forget, note, retained, services, sharing, unlock, with,
};
use crate::pool::leases::release_unused;
use crate::pool::messages::{self, Message};
use crate::pool::{self, in_zone};
use crate::telemetry::{event, now};

/// How long a slot is reserved for the waiter on another machine that was notified of its
/// release, in milliseconds.
const OTHERS_MS: u64 = 100;
/// How long a slot that another machine was seen to hold is not granted, in milliseconds.
const ELSEWHERE_MS: u64 = 150;

/// Applies the collected events. The locks must not be borrowed.
pub(super) fn settle() {
    let mut settling = vec![];
    loop {
        // Keeps the vector that has room.
        LOCKS.with_borrow_mut(|locks| std::mem::swap(&mut locks.done, &mut settling));
        if settling.is_empty() {
            return;
        }
        settling.drain(..).for_each(settle_one);
    }
}

fn settle_one(outcome: GroupEvent) {
    match outcome {
        GroupEvent::Locked {
            tag,
            handle,
            lock,
            choice,
            votes,
        } => locked(Token::of(tag), handle, lock, choice, votes),
        GroupEvent::Busy {
            tag,
            handle,
            wait_ms,
        } => busy(Token::of(tag), handle, wait_ms),
        GroupEvent::Unsure { tag, handle } => again(Token::of(tag), handle),
        GroupEvent::Unavailable { tag, handle } => unavailable(Token::of(tag), handle),
        GroupEvent::Gone { handle } => {
            in_zone(|zone| zone.settle_service_lock(handle.nonce()));
        }
        GroupEvent::Unlocked { handle, for_others } => {
            let hold = forget(handle);
            if let Some(hold) = hold.filter(|_| for_others) {
                note(hold.locked_key.group, |member| {
                    member.others_wait(&hold.locked_key.names);
                });
            }
            let now = now();
            in_zone(|zone| match for_others {
                true => zone.taken_elsewhere(handle, now.mono_ms + OTHERS_MS, now),
                false => zone.release(handle, now),
            });
            if for_others {
                pool::watch_expiry();
            }
        }
        GroupEvent::Abandoned { handle } => {
            forget(handle);
            release_unused(handle);
        }
        GroupEvent::Prolonged {
            handle,
            deadline_ms,
        } => {
            let of_request = LOCKS.with_borrow_mut(|locks| {
                let lock = locks.holds.get_mut(&handle)?.lock.as_mut()?;
                lock.deadline_ms = lock.deadline_ms.max(deadline_ms);
                Some(lock.deadline_ms)
            });
            if let Some(deadline_ms) = of_request {
                in_zone(|zone| zone.prolonged(handle, deadline_ms));
            }
        }
        GroupEvent::Concluded { operation, kept } => services::concluded(operation, kept),
        GroupEvent::Lost {
            handle,
            deadline_ms,
        } => {
            // A later renewal may have extended it.
            let is_lost = LOCKS.with_borrow(|locks| {
                // A lock that is being released needs no renewal.
                let hold = locks.holds.get(&handle).filter(|hold| !hold.ending)?;
                Some(hold.lock?.deadline_ms <= deadline_ms)
            });
            if is_lost == Some(true) {
                lost(handle);
            }
            retained::end_lost(handle);
        }
        GroupEvent::Opened { group, node } => {
            cool_downs::greet(group, node);
            sharing::greet(group, node);
        }
        GroupEvent::Shared { group, node, value } => sharing::answered(group, node, &value),
        GroupEvent::CoolingDown {
            names,
            key,
            cool_down,
        } => cool_downs::received(&names, &key, cool_down),
        GroupEvent::Freed { names, field } => freed(&names, &field),
    }
}

fn locked(token: Token, handle: LeaseHandle, lock: Lock, choice: usize, votes: u8) {
    let Some(held) = settle_on(handle, choice) else {
        return not_here(token, handle, lock, choice);
    };
    let noted = LOCKS.with_borrow_mut(|locks| {
        let hold = locks.holds.get_mut(&held)?;
        hold.lock = Some(lock);
        Some((!hold.ending, Rc::clone(&hold.locked_key)))
    });
    let Some((wanted, locked_key)) = noted else {
        return;
    };
    if with(locked_key.group, |member, _, _| {
        std::mem::take(&mut member.fallen_back)
    }) == Some(true)
    {
        let fields = json!({ "pool": locked_key.names.pool() });
        event(Level::Warn, "redlock_fallback_over", fields);
    }
    after_turn(locked_key.group, &locked_key.names);
    let grant = in_zone(|zone| {
        let grant = zone.locked(held, lock).ok()?;
        if !zone.is_cooling_down(grant.key, now()) {
            return Some(grant);
        }
        // Another request or machine has put the key into a cool-down since the lease began.
        let _ = zone.unused(held, now());
        None
    })
    .flatten();
    let gone = grant.is_none();
    let taken = match grant {
        Some(grant) if wanted => messages::send(
            token,
            Message::Locked {
                asked: handle,
                grant,
                votes,
            },
        ),
        _ => false,
    };
    if !taken {
        unlock(held, lock);
    }
    if wanted && gone {
        // The lease was lost, or its key began a cool-down.
        messages::send(token, Message::AskAgain);
    }
}

/// Moves a lease to the slot that was locked and returns its new handle. `None` when that
/// slot has been leased on this machine in the meantime.
fn settle_on(handle: LeaseHandle, choice: usize) -> Option<LeaseHandle> {
    if choice == 0 {
        return Some(handle);
    }
    let option = LOCKS.with_borrow(|locks| locks.holds.get(&handle)?.options.get(choice).copied());
    let (key, ordinal) = option?;
    let now = now();
    let until = now.mono_ms + ELSEWHERE_MS;
    let grant = in_zone(|zone| zone.move_to(handle, (key, ordinal), until, now)).flatten()?;
    LOCKS.with_borrow_mut(|locks| {
        let hold = locks.holds.remove(&handle)?;
        let locked_key = Rc::clone(locks.locked_keys.get(&key)?);
        let slot = locked_key.slot(ordinal)?;
        let hold = Hold {
            grant,
            locked_key,
            slot,
            ..hold
        };
        locks.holds.insert(grant.handle, hold);
        Some(grant.handle)
    })
}

/// Releases a lock whose slot another lease of this machine has got in the meantime.
fn not_here(token: Token, handle: LeaseHandle, lock: Lock, choice: usize) {
    LOCKS.with_borrow_mut(|locks| {
        let hold = locks.holds.get(&handle)?;
        let slot = locks.slots(hold.options.get(choice..=choice)?).pop()?;
        let locked_key = Rc::clone(&hold.locked_key);
        let member = locks.members.get_mut(locked_key.group)?.as_mut()?;
        let lock = GiveBack {
            lock,
            may_be_extended: false,
            settles: false,
            handle,
        };
        member.group.give_back_lock(&locked_key.names, slot, lock);
        member.flush.soon();
        Some(())
    });
    busy(token, handle, 1);
}

fn again(token: Token, handle: LeaseHandle) {
    let group = LOCKS.with_borrow(|locks| {
        let hold = locks.holds.get(&handle).filter(|hold| !hold.ending)?;
        Some(hold.locked_key.group)
    });
    match group {
        Some(group) => {
            messages::send(token, Message::NextRound);
            attempt(handle, group, token, true);
        }
        None => {
            forget(handle);
            release_unused(handle);
        }
    }
}

fn busy(token: Token, handle: LeaseHandle, wait_ms: u64) {
    let wanted = forget(handle).is_some_and(|hold| !hold.ending);
    in_zone(|zone| {
        let now = now();
        zone.unused(handle, now)?;
        zone.taken_elsewhere(handle, now.mono_ms + wait_ms, now)
    });
    // Other requests may be waiting for this slot.
    pool::watch_expiry();
    if wanted {
        messages::send(token, Message::AskAgain);
    }
}

fn unavailable(token: Token, handle: LeaseHandle) {
    let hold = forget(handle);
    let wanted = hold.as_ref().is_some_and(|hold| !hold.ending);
    if wanted
        && let Some(hold) = hold.filter(|hold| hold.locked_key.fallback)
        && messages::send(token, Message::FallBack(hold.grant))
    {
        let names = &hold.locked_key.names;
        let fell = with(hold.locked_key.group, |member, _, _| {
            !std::mem::replace(&mut member.fallen_back, true)
        });
        if fell == Some(true) {
            // Logged once, until a quorum has granted a lock again.
            let fields = json!({ "pool": names.pool(), "exclusive": "on this machine only" });
            event(Level::Error, "redlock_fallback", fields);
        }
        return;
    }
    release_unused(handle);
    if wanted {
        messages::send(token, Message::Unavailable);
    }
}

fn lost(handle: LeaseHandle) {
    let Some(hold) = forget(handle) else { return };
    with(hold.locked_key.group, |member, _, _| {
        member.group.counts.lost += 1;
    });
    if let Some(lock) = hold.lock {
        // Nodes that did not reply may still receive a renewal, and would restore the lock.
        let lock = hold.give_back(lock);
        with(hold.locked_key.group, |member, _, _| {
            let slot = hold.slot.slot.clone();
            member
                .group
                .give_back_lock(&hold.locked_key.names, slot, lock);
        });
    }
    let until = hold
        .lock
        .map_or(0, |lock| lock.deadline_ms)
        .max(now().mono_ms + 1);
    in_zone(|zone| zone.taken_elsewhere(handle, until, now()));
    pool::watch_expiry();
    messages::lost(hold.token, handle);
}

/// Handles the message that another machine has released a slot.
fn freed(names: &PoolNames, field: &str) {
    let name = [names.base(), field].concat();
    let slot = LOCKS.with_borrow(|locks| locks.named.get(&name).copied());
    if let Some((key, ordinal)) = slot {
        in_zone(|zone| zone.freed_elsewhere(key, ordinal, now()));
    }
}

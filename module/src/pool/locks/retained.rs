//! Locks that stay on the nodes after their request, for the next request of this machine.
//!
//! The zone gives such a lock to the next lease of the slot, in any worker. The worker that
//! retained the lock releases it when its time is over, or when the zone recalls it.

use openai_core::lease::{LeaseHandle, Lock, Reclaimed};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Hold, LOCKS, note, unlock, with};
use crate::config::{Main, Store};
use crate::pool::in_zone;
use crate::pool::nodes::clock;

/// A lock that this worker has retained.
pub(super) struct Retained {
    hold: Hold,
    until_ms: u64,
}

/// Notes a lock that the zone has just retained.
pub(super) fn retain(hold: Hold, until_ms: u64) {
    let group = hold.locked_key.group;
    let (slot, lock) = ((hold.grant.key, hold.grant.ordinal), nonce(hold.lock));
    let before = LOCKS.with_borrow_mut(|locks| {
        let retained = Retained { hold, until_ms };
        locks.retained.insert(slot, retained)
    });
    // Usually the same lock, which a later lease of this worker has had since.
    if let Some(before) = before.filter(|before| nonce(before.hold.lock) != lock) {
        end(vec![before.hold]);
    }
    note(group, |member| {
        member.group.counts.retained += 1;
        if !member.idle.is_started() || until_ms < member.idle_due_ms {
            member.wake_at(until_ms);
        }
    });
}

fn nonce(lock: Option<Lock>) -> Option<u128> {
    lock.map(|lock| lock.nonce())
}

/// Counts a lease that has got a retained lock.
pub fn reused(main: &Main, pool: usize) {
    let store = main.pools.get(pool).map(|pool| &pool.store);
    if let Some(Store::Redlock { group, .. }) = store {
        note(*group, |member| member.group.counts.reused += 1);
    }
}

/// Releases the locks of a group whose time is over, unless a later lease has them.
pub(super) fn end_due(group: usize) {
    let now = clock();
    let of_group = |retained: &Retained| retained.hold.locked_key.group == group;
    end(take(|retained| {
        of_group(retained) && retained.until_ms <= now
    }));
    let next = LOCKS.with_borrow(|locks| {
        let left = locks.retained.values().filter(|one| of_group(one));
        left.map(|one| one.until_ms).min()
    });
    if let Some(next) = next {
        note(group, |member| member.wake_at(next));
    }
}

/// Releases the locks that the zone has recalled. `recalls` is [`openai_core::lease::Zone::recalls`].
pub fn end_recalled(recalls: u32) {
    let recalled = LOCKS.with(|locks| {
        let Ok(mut locks) = locks.try_borrow_mut() else {
            // The timer will release them.
            return None;
        };
        let seen = std::mem::replace(&mut locks.recalls, recalls);
        if seen == recalls || locks.retained.is_empty() {
            return None;
        }
        let handles = locks.retained.values().map(|one| one.hold.grant.handle);
        let handles: Vec<_> = handles.collect();
        in_zone(|zone| {
            let handles = handles.into_iter();
            let recalled = handles.filter(|&handle| !zone.is_retained(handle));
            recalled.collect::<FxHashSet<_>>()
        })
    });
    if let Some(recalled) = recalled.filter(|recalled| !recalled.is_empty()) {
        end(take(|retained| {
            recalled.contains(&retained.hold.grant.handle)
        }));
    }
}

/// Releases the lock of an ended lease if it is still retained, because nodes have replied that it
/// is lost.
pub(super) fn end_lost(handle: LeaseHandle) {
    end(take(|retained| retained.hold.grant.handle == handle));
}

fn take(which: impl Fn(&Retained) -> bool) -> Vec<Hold> {
    LOCKS.with_borrow_mut(|locks| {
        let taken = locks.retained.extract_if(|_, retained| which(retained));
        taken.map(|(_, retained)| retained.hold).collect()
    })
}

fn end(holds: Vec<Hold>) {
    if holds.is_empty() {
        return;
    }
    for (mut hold, reclaimed) in reclaim(holds) {
        match (reclaimed, hold.lock) {
            (Reclaimed::Release(lock), _) => {
                let handle = hold.grant.handle;
                LOCKS.with_borrow_mut(|locks| locks.holds.insert(handle, hold));
                unlock(handle, lock);
            }
            (Reclaimed::Gone, Some(lock)) => {
                // A later lease may have renewed it.
                hold.may_be_extended = true;
                with(hold.locked_key.group, |member, _, _| {
                    let (slot, lock) = (hold.slot.slot.clone(), hold.give_back(lock));
                    let names = &hold.locked_key.names;
                    member.group.give_back_lock(names, slot, lock);
                });
            }
            (Reclaimed::Gone, None) | (Reclaimed::InUse, _) => {}
        }
    }
}

fn reclaim(holds: Vec<Hold>) -> Vec<(Hold, Reclaimed)> {
    let reclaimed = in_zone(|zone| {
        let of = |hold: &Hold| match hold.lock {
            Some(lock) => zone.reclaim(hold.grant.handle, lock.nonce()),
            None => Reclaimed::Gone,
        };
        holds.iter().map(of).collect::<Vec<_>>()
    });
    // Without the zone nothing is known: the locks expire.
    holds
        .into_iter()
        .zip(reclaimed.unwrap_or_default())
        .collect()
}

/// Takes back all locks that no later lease has, when the worker exits.
pub(super) fn reclaim_all(retained: &mut FxHashMap<(u32, u32), Retained>) -> Vec<(Hold, Lock)> {
    let holds = retained.drain().map(|(_, one)| one.hold).collect();
    let reclaimed = reclaim(holds).into_iter();
    let released = reclaimed.filter_map(|(hold, reclaimed)| match reclaimed {
        Reclaimed::Release(lock) => Some((hold, lock)),
        Reclaimed::Gone => hold.lock.map(|lock| (hold, lock)),
        Reclaimed::InUse => None,
    });
    released.collect()
}

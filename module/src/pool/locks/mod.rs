//! The locks that this worker's leases have on slots of Redlock pools.
//!
//! A slot is leased on this machine first; that lease may then try to lock it on
//! a quorum of nodes. Whatever comes of it is settled after the event that brought
//! it, when nothing is borrowed.

mod cool_downs;
mod late;
mod members;
mod outcomes;
mod services;
mod sharing;
mod waiting;

pub use cool_downs::announce_cool_down;
pub use members::{keys_changed, node_states, nodes, start, status, stop};
pub use services::{
    asked_until, entrusted, give_back_ms, give_back_service, prolong_lease, prolong_service,
};
pub use waiting::waits;

use std::cell::RefCell;
use std::rc::Rc;

use nginx_safe::Token;
use openai_core::lease::{Avoid, Ended, Grant, LeaseHandle, Lock};
use openai_core::redlock::{Operations, PoolNames, Slot};
use redis_nodes::{AttemptKey, GiveBack, GroupEvent, LockRequest, SlotCommands};
use rustc_hash::FxHashMap;

use crate::config::{KeyTable, PoolKey};
use crate::pool::in_zone;
use crate::pool::nodes::clock;
use crate::telemetry::now;
use late::Change;
use members::Member;

/// A Redlock pool.
struct Lockable {
    group: usize,
    /// Its position in the configuration.
    pool: usize,
    names: Rc<PoolNames>,
    ttl_ms: u64,
    fallback: bool,
    keys: Rc<KeyTable>,
}

/// A key of a Redlock pool.
struct LockedKey {
    key: Rc<PoolKey>,
    group: usize,
    /// The position of its pool in the configuration.
    pool: usize,
    names: Rc<PoolNames>,
    /// Its slots by ordinal, as the nodes know them.
    slots: Vec<Rc<SlotCommands>>,
    ttl_ms: u64,
    /// Whether a lease is good without a lock when no quorum is to be had.
    fallback: bool,
}

/// A lease of ours on a slot of a Redlock pool.
struct Hold {
    grant: Grant,
    locked_key: Rc<LockedKey>,
    slot: Rc<SlotCommands>,
    /// The request; none when nobody came for the lease.
    token: Option<Token>,
    attempt: Option<AttemptKey>,
    /// What the attempt asks for, as the zone knows it; the slot of the lease first.
    options: Vec<(u32, u32)>,
    lock: Option<Lock>,
    /// Nodes may yet be told to prolong the lock by what this worker, or another that
    /// has had it, has sent before.
    retold: bool,
    /// It is to become a service's, which asks for more than a renewal does.
    prolonging: bool,
    /// It was a service's, and is given back for it.
    of_service: bool,
    /// Nobody wants it any more; it ends once that is sure.
    ending: bool,
}

impl Hold {
    fn give_back(&self, lock: Lock) -> GiveBack {
        GiveBack {
            lock,
            retold: self.retold,
            settles: self.of_service,
            handle: self.grant.handle,
        }
    }
}

/// How long a lock that nobody here waits for may take to be given back.
const LEISURE_MS: u64 = 1;

type Holds = FxHashMap<LeaseHandle, Hold>;

#[derive(Default)]
struct Locks {
    members: Vec<Option<Member>>,
    pools: Vec<Lockable>,
    /// By the keys' indexes in the zone.
    locked_keys: FxHashMap<u32, Rc<LockedKey>>,
    /// The slots as the zone knows them, by their names on the nodes.
    named: FxHashMap<String, (u32, u32)>,
    holds: Holds,
    /// What nodes have been asked for locks of services.
    operations: Operations<services::Asked>,
    done: Vec<GroupEvent>,
    /// Leases with a lock that end at the end of this turn of the event loop: who
    /// comes until then may have the lock.
    ended: Vec<LeaseHandle>,
}

thread_local! {
    static LOCKS: RefCell<Locks> = RefCell::default();
}

impl Locks {
    fn member(&self, group: usize) -> Option<&Member> {
        self.members.get(group)?.as_ref()
    }

    /// Notes a lease; the group of its lock.
    fn hold(&mut self, grant: &Grant, token: Option<Token>, lock: Option<Lock>) -> Option<usize> {
        let locked_key = Rc::clone(self.locked_keys.get(&grant.key)?);
        let slot = Rc::clone(locked_key.slots.get(grant.ordinal as usize)?);
        let group = locked_key.group;
        let hold = Hold {
            grant: *grant,
            locked_key,
            slot,
            token,
            attempt: None,
            options: vec![],
            lock,
            // It has been another request's.
            retold: lock.is_some(),
            prolonging: false,
            of_service: false,
            ending: token.is_none(),
        };
        self.holds.insert(grant.handle, hold);
        Some(group)
    }

    /// The slots that an attempt for a lease asks for.
    fn slots(&self, options: &[(u32, u32)]) -> Vec<Slot> {
        let slot = |&(key, ordinal): &(u32, u32)| {
            let locked_key = self.locked_keys.get(&key)?;
            let commands = locked_key.slots.get(ordinal as usize)?;
            Some(commands.slot.clone())
        };
        options.iter().filter_map(slot).collect()
    }
}

/// Acts on a group; what it has to say is sent later in this turn of the event
/// loop, together with all else.
fn with<T>(
    group: usize,
    act: impl FnOnce(&mut Member, &mut Holds, &mut Vec<GroupEvent>) -> T,
) -> Option<T> {
    LOCKS.with_borrow_mut(|locks| {
        let Locks {
            members,
            holds,
            done,
            ..
        } = locks;
        let member = members.get_mut(group)?.as_mut()?;
        let result = act(member, holds, done);
        member.flush.soon();
        Some(result)
    })
}

/// The same, but what it has to say may wait a moment for company: what is under
/// way to the client meanwhile does not have to wait for it.
fn with_leisure(group: usize, act: impl FnOnce(&mut Member, &mut Holds, &mut Vec<GroupEvent>)) {
    LOCKS.with_borrow_mut(|locks| {
        let Locks {
            members,
            holds,
            done,
            ..
        } = locks;
        if let Some(Some(member)) = members.get_mut(group) {
            act(member, holds, done);
            if !member.late_flush.is_started() {
                member.late_flush.start(LEISURE_MS);
            }
        }
    });
}

/// Tries to lock the slot of a lease, or one of another key, rather of none that the request
/// avoids; [`crate::gateway`] hears what comes of it.
pub fn begin(grant: &Grant, token: Token, avoid: &Avoid) {
    late::make(Change::Begin(*grant, token, *avoid));
}

fn begin_now(grant: &Grant, token: Token, avoid: &Avoid) {
    let noted = LOCKS.with_borrow_mut(|locks| {
        let group = locks.hold(grant, Some(token), None)?;
        let member = locks.member(group)?;
        Some((group, member.group.alternatives(), member.generation))
    });
    let Some((group, most, generation)) = noted else {
        return;
    };
    let mut options = vec![(grant.key, grant.ordinal)];
    if most > 0 {
        let random = grant.handle.nonce() as u64;
        let others =
            in_zone(|zone| zone.alternatives(grant.handle, generation, most, random, avoid));
        options.extend(others.unwrap_or_default());
    }
    LOCKS.with_borrow_mut(|locks| {
        if let Some(hold) = locks.holds.get_mut(&grant.handle) {
            hold.options = options;
        }
    });
    attempt(grant.handle, group, token, false);
}

/// Asks the nodes for one of the slots that a lease could have.
fn attempt(handle: LeaseHandle, group: usize, token: Token, by_script: bool) {
    let others = LOCKS.with_borrow(|locks| {
        let options = &locks.holds.get(&handle)?.options;
        let others = locks.slots(options.get(1..)?);
        // The zone names only slots that this configuration knows.
        (others.len() + 1 == options.len()).then_some(others)
    });
    with(group, |member, holds, done| {
        let Some(hold) = holds.get_mut(&handle) else {
            return;
        };
        let attempt = LockRequest {
            names: Rc::clone(&hold.locked_key.names),
            first: Rc::clone(&hold.slot),
            others: others.unwrap_or_default(),
            by_script,
            ttl_ms: hold.locked_key.ttl_ms,
            handle,
            last_fence: hold.grant.last_fence,
            tag: token.number(),
        };
        hold.attempt = member.group.attempt(attempt, clock(), now().wall_us, done);
    });
}

/// Takes over a lock that came with a lease.
pub fn take_over(grant: &Grant, lock: Lock, token: Token) {
    late::make(Change::TakeOver(*grant, lock, token));
}

/// Ends a lease with a lock that nobody came for.
pub fn give_back(grant: &Grant, lock: Lock) {
    late::make(Change::GiveBack(*grant, lock));
}

fn give_back_now(grant: &Grant, lock: Lock) {
    let held = LOCKS.with_borrow_mut(|locks| locks.hold(grant, None, Some(lock)));
    if let Some(group) = held {
        end_soon(group, grant.handle);
    }
}

/// The lease is of no use any more: its lock goes to the next waiter or back.
pub fn end(handle: LeaseHandle) {
    late::make(Change::End(handle));
}

fn end_now(handle: LeaseHandle) {
    let Some((group, locked)) = LOCKS.with_borrow_mut(|locks| {
        let hold = locks.holds.get_mut(&handle)?;
        hold.ending = true;
        Some((hold.locked_key.group, hold.lock.is_some()))
    }) else {
        return;
    };
    if locked {
        return end_soon(group, handle);
    }
    with(group, |member, holds, done| {
        let attempt = holds.get(&handle).and_then(|hold| hold.attempt);
        if let Some(attempt) = attempt {
            member.group.abandon(attempt, clock(), done);
        }
    });
}

fn end_soon(group: usize, handle: LeaseHandle) {
    LOCKS.with_borrow_mut(|locks| locks.ended.push(handle));
    with(group, |_, _, _| ());
}

fn end_locked(handle: LeaseHandle) {
    let rule = LOCKS.with_borrow(|locks| {
        let hold = locks.holds.get(&handle)?;
        let member = locks.member(hold.locked_key.group)?;
        Some(member.hand_over(&hold.locked_key.names, hold.lock.as_ref()))
    });
    let ended = rule.and_then(|rule| in_zone(|zone| zone.end(handle, rule, now())));
    let ended = match ended {
        Some(Ok(Ended::Locked(lock))) => return unlock(handle, lock),
        Some(Ok(ended)) => ended,
        // After a standstill somebody else may have the slot here, and the nodes
        // the lock.
        _ => {
            let lock = LOCKS.with_borrow(|locks| locks.holds.get(&handle)?.lock);
            return match lock {
                Some(lock) => unlock(handle, lock),
                None => drop(forget(handle)),
            };
        }
    };
    if let Some(hold) = forget(handle)
        && ended == Ended::HandedOver
    {
        with(hold.locked_key.group, |member, _, _| {
            member.group.counts.handed_over += 1;
        });
    }
}

fn unlock(handle: LeaseHandle, lock: Lock) {
    let found = LOCKS.with_borrow(|locks| {
        let locked_key = &locks.holds.get(&handle)?.locked_key;
        let pool = locks.member(locked_key.group)?.pool_of(&locked_key.names);
        Some((locked_key.group, pool))
    });
    let Some((group, pool)) = found else { return };
    let unlock = |member: &mut Member, holds: &mut Holds, done: &mut Vec<GroupEvent>| {
        if let Some(hold) = holds.get_mut(&handle) {
            // A renewal would put it back.
            hold.ending = true;
            let lock = hold.give_back(lock);
            member.group.unlock(&hold.slot, lock, clock(), done);
        }
    };
    let waits = pool.and_then(|pool| in_zone(|zone| zone.waiting_priority(pool)).flatten());
    if waits.is_some() {
        with(group, unlock);
    } else {
        with_leisure(group, unlock);
    }
}

fn forget(handle: LeaseHandle) -> Option<Hold> {
    LOCKS.with_borrow_mut(|locks| locks.holds.remove(&handle))
}

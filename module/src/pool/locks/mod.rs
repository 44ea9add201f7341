//! The locks on nodes that belong to this worker's leases of Redlock pools.
//!
//! A slot is leased on this machine first; then the nodes are asked to lock it. Results are
//! applied after the event that brought them, when the locks are no longer borrowed.

mod cool_downs;
mod late;
mod members;
mod outcomes;
mod retained;
mod services;
mod sharing;
mod waiting;

pub use cool_downs::announce_cool_down;
pub use members::{keys_changed, node_states, nodes, start, status, stop};
pub use retained::{end_recalled, reused};
pub use services::{
    asked_until, entrusted, give_back_ms, give_back_service, prolong_lease, prolong_service,
};
pub use waiting::waits;

use std::cell::RefCell;
use std::rc::Rc;

use nginx_safe::Token;
use openai_core::lease::{Avoid, Ended, Grant, LeaseHandle, Lock};
use openai_core::redlock::{PoolNames, Slot};
use redis_nodes::{GiveBack, GroupEvent, LockRequest, Operation, SlotCommands};
use rustc_hash::FxHashMap;
use slotmap::SlotMap;

use crate::config::PoolKey;
use crate::pool::in_zone;
use crate::pool::keys::KeyTable;
use crate::pool::leases::release_unused;
use crate::pool::nodes::clock;
use crate::telemetry::now;
use late::Change;
use members::Member;

/// A Redlock pool.
struct Lockable {
    group: usize,
    /// Position of the pool in the configuration.
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
    /// Position of the key's pool in the configuration.
    pool: usize,
    names: Rc<PoolNames>,
    /// Its slots by ordinal, with their names on the nodes.
    slots: Vec<Rc<SlotCommands>>,
    ttl_ms: u64,
    /// Whether a lease is valid without a lock when too few nodes can vote.
    fallback: bool,
}

impl LockedKey {
    /// A slot of the key, as the nodes know it. A newer configuration, or a key file that this
    /// worker has not read yet, may have given the key more slots than the worker knows.
    fn slot(&self, ordinal: u32) -> Option<Rc<SlotCommands>> {
        if let Some(slot) = self.slots.get(ordinal as usize) {
            return Some(Rc::clone(slot));
        }
        let slot = Slot::new(&self.key.id, ordinal).ok()?;
        let names = Rc::clone(&self.names);
        Some(Rc::new(SlotCommands::new(slot, names, self.ttl_ms)))
    }
}

/// A lease of this worker on a slot of a Redlock pool.
struct Hold {
    grant: Grant,
    locked_key: Rc<LockedKey>,
    slot: Rc<SlotCommands>,
    /// The request; `None` when it is gone.
    token: Option<Token>,
    /// The slots that the attempt asks for, each as key index and ordinal; the leased slot first.
    options: Vec<(u32, u32)>,
    lock: Option<Lock>,
    /// Whether nodes may still receive a command that extends the lock, from this worker or
    /// from an earlier holder of the lock.
    may_be_extended: bool,
    /// Whether the lock is being extended to become a service lock, for longer than a renewal does.
    prolonging: bool,
    /// Whether this was a service lock, which is now being released.
    of_service: bool,
    /// Whether the lease is no longer needed. It ends when the nodes have answered.
    ending: bool,
}

impl Hold {
    fn give_back(&self, lock: Lock) -> GiveBack {
        GiveBack {
            lock,
            may_be_extended: self.may_be_extended,
            settles: self.of_service,
            handle: self.grant.handle,
        }
    }
}

/// How long the release of a lock may be delayed if no local request waits for it, in milliseconds.
const DELAY_MS: u64 = 1;

type Holds = FxHashMap<LeaseHandle, Hold>;

#[derive(Default)]
struct Locks {
    members: Vec<Option<Member>>,
    pools: Vec<Lockable>,
    /// By index of the key in the zone.
    locked_keys: FxHashMap<u32, Rc<LockedKey>>,
    /// Key index and ordinal of each slot, by its name on the nodes.
    named: FxHashMap<String, (u32, u32)>,
    holds: Holds,
    /// Pending requests to nodes about service locks.
    operations: SlotMap<Operation, services::ServiceCall>,
    done: Vec<GroupEvent>,
    /// Locks that this worker has retained, by key index and ordinal of the slot. Other leases may
    /// have got them since.
    retained: FxHashMap<(u32, u32), retained::Retained>,
    /// Number of recalls in the zone when this worker last released recalled locks.
    recalls: u32,
    /// Locked leases that end after this turn of the event loop. Until then a new waiter
    /// can get the lock.
    ended: Vec<LeaseHandle>,
}

thread_local! {
    static LOCKS: RefCell<Locks> = RefCell::default();
}

impl Locks {
    fn member(&self, group: usize) -> Option<&Member> {
        self.members.get(group)?.as_ref()
    }

    /// Stores a lease and returns the group of its pool.
    fn hold(&mut self, grant: &Grant, token: Option<Token>, lock: Option<Lock>) -> Option<usize> {
        let locked_key = Rc::clone(self.locked_keys.get(&grant.key)?);
        let slot = locked_key.slot(grant.ordinal)?;
        let group = locked_key.group;
        let hold = Hold {
            grant: *grant,
            locked_key,
            slot,
            token,
            options: vec![],
            lock,
            // A lock that comes with the lease was held by another request before.
            may_be_extended: lock.is_some(),
            prolonging: false,
            of_service: false,
            ending: token.is_none(),
        };
        self.holds.insert(grant.handle, hold);
        Some(group)
    }

    /// The slots of `options`, as the nodes know them.
    fn slots(&self, options: &[(u32, u32)]) -> Vec<Slot> {
        let slot = |&(key, ordinal): &(u32, u32)| {
            let locked_key = self.locked_keys.get(&key)?;
            Some(locked_key.slot(ordinal)?.slot.clone())
        };
        options.iter().filter_map(slot).collect()
    }
}

/// Changes a group by an act that sends no commands.
fn note(group: usize, act: impl FnOnce(&mut Member)) {
    LOCKS.with_borrow_mut(|locks| {
        if let Some(Some(member)) = locks.members.get_mut(group) {
            act(member);
        }
    });
}

/// Acts on a group. Its commands are sent later in this turn of the event loop, together
/// with all others.
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

/// Acts on a group, like [`with`], but its commands may be sent up to [`DELAY_MS`] later,
/// together with others. Responses to clients are not delayed by the system call then.
fn with_delay(group: usize, act: impl FnOnce(&mut Member, &mut Holds, &mut Vec<GroupEvent>)) {
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
                member.late_flush.start(DELAY_MS);
            }
        }
    });
}

/// Tries to lock the slot of a lease, or a slot of another key of the pool; keys in `avoid`
/// come last. [`crate::gateway`] receives the result.
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
        // The worker does not know the key. The request waits until its time is up.
        return release_unused(grant.handle);
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

/// Asks the nodes for one of the slots in the lease's `options`.
fn attempt(handle: LeaseHandle, group: usize, token: Token, by_script: bool) {
    let others = LOCKS.with_borrow(|locks| {
        let options = &locks.holds.get(&handle)?.options;
        let others = locks.slots(options.get(1..)?);
        // The zone returns only slots that this configuration knows.
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
        member.group.attempt(attempt, clock(), now().wall_us, done);
    });
}

/// Takes over a lock that was handed over with a lease.
pub fn take_over(grant: &Grant, lock: Lock, token: Token) {
    late::make(Change::TakeOver(*grant, lock, token));
}

/// Ends a locked lease whose request is gone.
pub fn give_back(grant: &Grant, lock: Lock) {
    late::make(Change::GiveBack(*grant, lock));
}

fn give_back_now(grant: &Grant, lock: Lock) {
    let held = LOCKS.with_borrow_mut(|locks| locks.hold(grant, None, Some(lock)));
    if let Some(group) = held {
        end_soon(group, grant.handle);
    }
}

/// Ends a lease: its lock is handed to the next waiter or released.
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
    with(group, |member, _, done| {
        member.group.abandon(handle, clock(), done);
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
        let mut rule = member.hand_over(&hold.locked_key.names, hold.lock.as_ref());
        if hold.prolonging {
            // Nodes may keep the lock for long, or have replied that it is lost.
            (rule.most, rule.retain) = (0, None);
        }
        Some(rule)
    });
    let ended = rule.and_then(|rule| in_zone(|zone| zone.end(handle, rule, now())));
    let ended = match ended {
        Some(Ok(Ended::Locked(lock))) => return unlock(handle, lock),
        Some(Ok(ended)) => ended,
        // If this worker was stopped for long, another worker may have the slot and another
        // machine the lock.
        _ => {
            let lock = LOCKS.with_borrow(|locks| locks.holds.get(&handle)?.lock);
            return match lock {
                Some(lock) => unlock(handle, lock),
                None => drop(forget(handle)),
            };
        }
    };
    let Some(hold) = forget(handle) else { return };
    match ended {
        Ended::Retained { until_ms } => retained::retain(hold, until_ms),
        Ended::HandedOver => {
            note(hold.locked_key.group, |member| {
                member.group.counts.handed_over += 1;
            });
        }
        Ended::Free | Ended::Locked(_) => {}
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
            // A renewal would restore the lock on the nodes.
            hold.ending = true;
            let lock = hold.give_back(lock);
            member.group.unlock(&hold.slot, lock, clock(), done);
        }
    };
    let waits = pool.and_then(|pool| in_zone(|zone| zone.waiting_priority(pool)).flatten());
    if waits.is_some() {
        with(group, unlock);
    } else {
        with_delay(group, unlock);
    }
}

fn forget(handle: LeaseHandle) -> Option<Hold> {
    LOCKS.with_borrow_mut(|locks| locks.holds.remove(&handle))
}

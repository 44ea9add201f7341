//! The locks that this worker's leases have on slots of Redlock pools.
//!
//! A slot is leased on this machine first; that lease may then try to lock it on
//! a quorum of nodes. Whatever comes of it is settled after the event that brought
//! it, when nothing is borrowed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use openai_core::lease::{Ended, Grant, HandOver, LeaseHandle, Lock};
use openai_core::redlock::{PoolNames, Slot};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use crate::adapter::now;
use crate::adapter::redis::{Attempt, AttemptKey, Group, Outcome, Setup, TIMEOUT, clock};
use crate::conf::{Main, RedlockGroup, Store};
use crate::ffi::{self, Level, Timer, Token};
use crate::log::event;
use crate::phase;
use crate::worker::in_zone;

/// How often connections are seen to.
const TEND_MS: u64 = 50;

/// A key of a Redlock pool.
struct Place {
    group: usize,
    names: Rc<PoolNames>,
    /// Its slots by ordinal, as the nodes know them.
    slots: Vec<Slot>,
    ttl_ms: u64,
}

/// A lease of ours on a slot of a Redlock pool.
struct Hold {
    place: Rc<Place>,
    slot: Slot,
    /// The request; none when nobody came for the lease.
    token: Option<Token>,
    attempt: Option<AttemptKey>,
    lock: Option<Lock>,
    /// Nobody wants it any more; it ends once that is sure.
    ending: bool,
}

struct Member {
    group: Group,
    hand_over: HandOver,
    renewal_ms: u64,
    flush: Timer,
    renewal: Timer,
    tend: Timer,
}

#[derive(Default)]
struct Locks {
    members: Vec<Option<Member>>,
    /// By the keys' indexes in the zone.
    places: HashMap<u32, Rc<Place>>,
    holds: HashMap<LeaseHandle, Hold>,
    done: Vec<Outcome>,
}

thread_local! {
    static LOCKS: RefCell<Locks> = RefCell::default();
}

/// Connects to the groups that pools use.
pub fn start(main: &Main) {
    let generation = main.taken_over().map_or(0, |known| known.generation);
    let members = main.groups.iter().enumerate().map(|(at, group)| {
        let uses = main.pools.iter().filter_map(|pool| match &pool.store {
            Store::Redlock { group, names, .. } if *group == at => Some((pool.ttl_ms, names)),
            _ => None,
        });
        let shortest = uses.clone().map(|(ttl, _)| ttl).min()?;
        let pools = uses.map(|(_, names)| Rc::clone(names)).collect();
        Some(Member::new(at, generation, group, pools, shortest))
    });
    let members = members.collect();
    let places = places(main);
    LOCKS.with_borrow_mut(|locks| {
        locks.members = members;
        locks.places = places;
    });
    for at in 0..main.groups.len() {
        tend(at as u64);
    }
}

fn places(main: &Main) -> HashMap<u32, Rc<Place>> {
    let mut places = HashMap::new();
    let known = main.taken_over().map_or(&[][..], |known| &known.pools);
    for (pool, known) in main.pools.iter().zip(known) {
        let Store::Redlock {
            group,
            names,
            slots,
        } = &pool.store
        else {
            continue;
        };
        for (index, position) in known.keys() {
            let place = Place {
                group: *group,
                names: Rc::clone(names),
                slots: slots.get(position).cloned().unwrap_or_default(),
                ttl_ms: pool.ttl_ms,
            };
            places.insert(index, Rc::new(place));
        }
    }
    places
}

/// The worker ends: all locks are given back, as far as the sockets take it.
pub fn stop() {
    let mut locks = LOCKS.take();
    let Locks {
        members,
        done,
        holds,
        ..
    } = &mut locks;
    for (&handle, hold) in holds.iter() {
        if let (Some(Some(member)), Some(lock), false) =
            (members.get_mut(hold.place.group), hold.lock, hold.ending)
        {
            let slot = hold.slot.clone();
            member
                .group
                .unlock(&hold.place.names, slot, lock, handle, clock(), done);
        }
    }
    for member in members.iter_mut().flatten() {
        member.group.end(clock(), done);
    }
    for &handle in holds.keys() {
        in_zone(|zone| zone.release(handle, now()));
    }
}

impl Member {
    fn new(
        at: usize,
        generation: u64,
        group: &RedlockGroup,
        pools: Vec<Rc<PoolNames>>,
        shortest_ttl: u64,
    ) -> Self {
        let number = at as u64;
        let setup = Setup {
            nodes: group.nodes.clone(),
            timeout_ms: group.timeout_ms,
            drift: group.drift,
            retry: group.retry,
            quarantine_ms: group.quarantine_ms.unwrap_or_default(),
            bootstrap: group.bootstrap,
            pools,
            hand_over: group.hand_over,
            owner: format!("{}:{}", ffi::host_name(), ffi::process_id()),
            on_node: heard,
            base: number << 8,
        };
        let renewal_ms = group.renewal_ms.unwrap_or(shortest_ttl / 3).max(10);
        let mut renewal = Timer::new(true, renew, number);
        renewal.start(renewal_ms);
        // What is handed over has to last until its first renewal.
        let left_ms = (shortest_ttl / 2).max(renewal_ms);
        Self {
            group: Group::new(setup, group.quorum, StdRng::from_os_rng()),
            hand_over: HandOver {
                most: group.hand_over,
                left_ms,
                generation,
            },
            renewal_ms,
            flush: Timer::new(true, flush, number),
            renewal,
            tend: Timer::new(true, tend, number),
        }
    }
}

/// How each node of a group does, in the order of the configuration.
pub fn nodes(group: usize, names: &PoolNames) -> Option<String> {
    LOCKS.with_borrow(|locks| {
        let member = locks.members.get(group)?.as_ref()?;
        let reports: Vec<_> = member
            .group
            .reports(names, clock())
            .map(|r| r.as_str())
            .collect();
        Some(reports.join(","))
    })
}

/// Runs `act` on a group, sends what it has to say, and settles what came of it.
fn with(group: usize, act: impl FnOnce(&mut Locks, usize)) {
    LOCKS.with_borrow_mut(|locks| {
        act(locks, group);
        if let Some(Some(member)) = locks.members.get_mut(group) {
            member.flush.soon();
        }
    });
}

/// A node's connection has something to say, or a timeout is due.
fn heard(argument: u64) {
    let (at, node) = ((argument >> 8) as usize, argument & 0xff);
    with(at, |locks, at| {
        let Locks { members, done, .. } = locks;
        if let Some(Some(member)) = members.get_mut(at) {
            if node == TIMEOUT {
                member.group.timeouts(clock(), done);
            } else {
                member.group.node_event(node as usize, clock(), done);
            }
        }
    });
    settle();
}

/// All commands of one turn of the event loop leave together.
fn flush(group: u64) {
    LOCKS.with_borrow_mut(|locks| {
        let Locks { members, done, .. } = locks;
        if let Some(Some(member)) = members.get_mut(group as usize) {
            member.group.flush(clock(), done);
        }
    });
    settle();
}

fn tend(group: u64) {
    with(group as usize, |locks, at| {
        let Locks { members, done, .. } = locks;
        if let Some(Some(member)) = members.get_mut(at) {
            member.group.tend(clock(), done);
            member.tend.start(TEND_MS);
        }
    });
    settle();
}

/// Prolongs the locks of a group, and sees which have ended.
fn renew(group: u64) {
    with(group as usize, |locks, at| {
        let Locks {
            members,
            done,
            holds,
            ..
        } = locks;
        let Some(Some(member)) = members.get_mut(at) else {
            return;
        };
        let now = clock();
        let mut pools: HashMap<&str, (Rc<PoolNames>, u64, Vec<_>)> = HashMap::new();
        let mut next = member.renewal_ms;
        for (&handle, hold) in holds
            .iter()
            .filter(|(_, h)| h.place.group == at && !h.ending)
        {
            let Some(lock) = hold.lock else { continue };
            next = next.min(lock.deadline_ms.saturating_sub(now).max(1));
            let field = hold.place.names.as_ref();
            let pool = pools
                .entry(field.base())
                .or_insert_with(|| (Rc::clone(&hold.place.names), hold.place.ttl_ms, vec![]));
            pool.2.push((handle, hold.slot.clone(), lock));
        }
        for (names, ttl_ms, locks) in pools.into_values() {
            member.group.prolong(&names, ttl_ms, &locks, now, done);
        }
        member.renewal.start(next);
    });
    settle();
}

impl Locks {
    /// Notes a lease; the group of its lock.
    fn hold(&mut self, grant: &Grant, token: Option<Token>, lock: Option<Lock>) -> Option<usize> {
        let place = Rc::clone(self.places.get(&grant.key)?);
        let slot = place.slots.get(grant.ordinal as usize)?.clone();
        let group = place.group;
        let ending = token.is_none();
        self.holds.insert(
            grant.handle,
            Hold {
                place,
                slot,
                token,
                attempt: None,
                lock,
                ending,
            },
        );
        Some(group)
    }
}

/// Tries to lock the slot of a lease; [`phase`] hears what comes of it.
pub fn begin(grant: &Grant, token: Token) {
    let Some(group) = LOCKS.with_borrow_mut(|locks| locks.hold(grant, Some(token), None)) else {
        return;
    };
    with(group, |locks, at| {
        let Locks {
            members,
            done,
            holds,
            ..
        } = locks;
        let (Some(Some(member)), Some(hold)) = (members.get_mut(at), holds.get_mut(&grant.handle))
        else {
            return;
        };
        let attempt = Attempt {
            names: Rc::clone(&hold.place.names),
            slot: hold.slot.clone(),
            ttl_ms: hold.place.ttl_ms,
            handle: grant.handle,
            tag: token.number(),
        };
        hold.attempt = member.group.attempt(attempt, clock(), now().wall_us, done);
    });
}

/// Takes over a lock that came with a lease.
pub fn take_over(grant: &Grant, lock: Lock, token: Token) {
    LOCKS.with_borrow_mut(|locks| locks.hold(grant, Some(token), Some(lock)));
}

/// Ends a lease with a lock that nobody came for.
pub fn give_back(grant: &Grant, lock: Lock) {
    if LOCKS
        .with_borrow_mut(|locks| locks.hold(grant, None, Some(lock)))
        .is_some()
    {
        end_locked(grant.handle);
    }
}

/// The lease is of no use any more: its lock goes to the next waiter or back.
pub fn end(handle: LeaseHandle) {
    let Some((group, locked)) = LOCKS.with_borrow_mut(|locks| {
        let hold = locks.holds.get_mut(&handle)?;
        hold.ending = true;
        Some((hold.place.group, hold.lock.is_some()))
    }) else {
        return;
    };
    if locked {
        end_locked(handle)
    } else {
        abandon(group, handle)
    }
}

fn end_locked(handle: LeaseHandle) {
    let rule = LOCKS.with_borrow(|locks| {
        let group = locks.holds.get(&handle)?.place.group;
        Some(locks.members.get(group)?.as_ref()?.hand_over)
    });
    let ended = rule.and_then(|rule| in_zone(|zone| zone.end(handle, rule, now())));
    match ended {
        Some(Ok(Ended::Locked(lock))) => unlock(handle, lock),
        _ => drop(forget(handle)),
    }
}

fn abandon(group: usize, handle: LeaseHandle) {
    with(group, |locks, at| {
        let Locks {
            members,
            done,
            holds,
            ..
        } = locks;
        let attempt = holds.get(&handle).and_then(|hold| hold.attempt);
        if let (Some(Some(member)), Some(attempt)) = (members.get_mut(at), attempt) {
            member.group.abandon(attempt, clock(), done);
        }
    });
}

fn unlock(handle: LeaseHandle, lock: Lock) {
    let Some(group) = LOCKS.with_borrow(|locks| locks.holds.get(&handle).map(|h| h.place.group))
    else {
        return;
    };
    with(group, |locks, at| {
        let Locks {
            members,
            done,
            holds,
            ..
        } = locks;
        let (Some(Some(member)), Some(hold)) = (members.get_mut(at), holds.get(&handle)) else {
            return;
        };
        member.group.unlock(
            &hold.place.names,
            hold.slot.clone(),
            lock,
            handle,
            clock(),
            done,
        );
    });
}

fn forget(handle: LeaseHandle) -> Option<Hold> {
    LOCKS.with_borrow_mut(|locks| locks.holds.remove(&handle))
}

/// Acts on what has come of things, with nothing borrowed.
fn settle() {
    loop {
        let done = LOCKS.with_borrow_mut(|locks| std::mem::take(&mut locks.done));
        if done.is_empty() {
            return;
        }
        done.into_iter().for_each(settle_one);
    }
}

fn settle_one(outcome: Outcome) {
    match outcome {
        Outcome::Locked { tag, handle, lock } => locked(Token::of(tag), handle, lock),
        Outcome::Busy {
            tag,
            handle,
            wait_ms,
        } => {
            let wanted = forget(handle).is_some_and(|hold| !hold.ending);
            in_zone(|zone| zone.taken_elsewhere(handle, now().mono_ms + wait_ms));
            if wanted {
                Token::of(tag).with(phase::ask_again);
            }
        }
        Outcome::Unavailable { tag, handle } => {
            let wanted = forget(handle).is_some_and(|hold| !hold.ending);
            in_zone(|zone| zone.release(handle, now()));
            if wanted {
                Token::of(tag).with(phase::unavailable);
            }
        }
        Outcome::Abandoned { handle } | Outcome::Unlocked { handle } => {
            forget(handle);
            in_zone(|zone| zone.release(handle, now()));
        }
        Outcome::Prolonged {
            handle,
            deadline_ms,
        } => {
            LOCKS.with_borrow_mut(|locks| {
                if let Some(lock) = locks.holds.get_mut(&handle).and_then(|h| h.lock.as_mut()) {
                    lock.deadline_ms = lock.deadline_ms.max(deadline_ms);
                }
            });
            in_zone(|zone| zone.prolonged(handle, deadline_ms));
        }
        Outcome::Lost { handle } => lost(handle),
    }
}

fn locked(token: Token, handle: LeaseHandle, lock: Lock) {
    let wanted = LOCKS.with_borrow_mut(|locks| {
        let hold = locks.holds.get_mut(&handle)?;
        hold.attempt = None;
        hold.lock = Some(lock);
        Some(!hold.ending)
    });
    let Some(wanted) = wanted else { return };
    let grant = in_zone(|zone| zone.locked(handle, lock)).and_then(Result::ok);
    let taken = match grant {
        Some(grant) if wanted => token.with(|request| phase::locked(request, grant)) == Some(true),
        _ => false,
    };
    if !taken {
        unlock(handle, lock);
    }
}

fn lost(handle: LeaseHandle) {
    let Some(hold) = forget(handle) else { return };
    let until = hold
        .lock
        .map_or(0, |lock| lock.deadline_ms)
        .max(now().mono_ms + 1);
    in_zone(|zone| zone.taken_elsewhere(handle, until));
    event(
        Level::Error,
        "lease_lost",
        json!({ "lease_id": format!("{:032x}", handle.nonce()) }),
    );
    if let Some(token) = hold.token {
        token.with(|request| phase::lost(request, handle));
    }
}

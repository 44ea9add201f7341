//! This worker's connections to groups: start, maintenance, end.

use std::rc::Rc;

use nginx_safe::Timer;
use openai_core::lease::{HandOver, LeaseHandle, Lock, PoolId, Retain};
use openai_core::redlock::{PoolNames, Slot};
use openai_core::view::NodeStatus;
use rand::SeedableRng;
use rand::rngs::StdRng;
use redis_nodes::{GroupTimer, NodeReport, Setup, SlotCommands};
use rustc_hash::FxHashMap;
use serde_json::json;

use super::outcomes::settle;
use super::waiting::maintain_queues;
use super::{
    LOCKS, Lockable, LockedKey, Locks, cool_downs, end_locked, late, retained, services, sharing,
    with,
};
use crate::config::{Main, PoolKey, RedlockGroup, Store};
use crate::pool::in_zone;
use crate::pool::nodes::{Call, Group, NginxTransport, clock};
use crate::pool::taken_over::{TakenOver, key_ids, taken_over};
use crate::telemetry::now;

/// Connection maintenance interval, in milliseconds.
const TEND_MS: u64 = 50;
/// How long a lock may be handed from lease to lease while other machines wait, in milliseconds.
/// Also how long after it was taken a lock may be retained.
const FAIR_MS: u32 = 1_000;
/// How long no locks are retained after a node has given the turn to another machine, in
/// milliseconds.
const QUIET_MS: u64 = 5_000;

pub(super) struct Member {
    pub(super) group: Group,
    pub(super) generation: u64,
    pools: Vec<(Rc<PoolNames>, PoolId)>,
    /// Whether leases are given out without a lock because too few nodes can vote.
    pub(super) fallen_back: bool,
    /// Maximum number of consecutive hand-overs of a lock, and its minimum remaining
    /// validity in milliseconds.
    hand_over: (u32, u64),
    retain: Option<Retain>,
    /// Until when no locks are retained because other machines waited for one, by position of the
    /// pool in `pools`.
    quiet_until: Vec<u64>,
    /// Due when the retention of a lock ends.
    pub(super) idle: Timer,
    pub(super) idle_due_ms: u64,
    pub(super) renewal_ms: u64,
    pub(super) flush: Timer,
    pub(super) late_flush: Timer,
    renewal: Timer,
    /// Due when the next service lock ends.
    pub(super) ends: Timer,
    tend: Timer,
    /// Due when stats are shared next.
    pub(super) share: Timer,
}

/// Connects to the groups that pools use.
pub fn start(main: &Main) {
    let Some(known) = taken_over() else {
        return;
    };
    let members = main.groups.iter().enumerate().map(|(at, group)| {
        let uses = main
            .pools
            .iter()
            .zip(&known.pools)
            .filter_map(|(pool, known)| match &pool.store {
                Store::Redlock { group, names, .. } if *group == at => {
                    Some((pool.ttl_ms, Rc::clone(names), known.id))
                }
                _ => None,
            });
        let shortest = uses.clone().map(|(ttl, ..)| ttl).min()?;
        let pools = uses.map(|(_, names, id)| (names, id)).collect();
        Some(Member::new(at, &known, group, pools, shortest))
    });
    let mut members: Vec<_> = members.collect();
    sharing::start(main, &mut members);
    LOCKS.with_borrow_mut(|locks| {
        locks.members = members;
        locks.pools = lockable(main, &known);
        locks.list_keys();
    });
    for at in 0..main.groups.len() {
        tend(at as u64);
    }
}

fn lockable(main: &Main, known: &TakenOver) -> Vec<Lockable> {
    let pools = main.pools.iter().zip(&known.pools).enumerate();
    let pools = pools.filter_map(|(at, (pool, known))| match &pool.store {
        Store::Redlock {
            group,
            names,
            fallback,
        } => Some(Lockable {
            group: *group,
            pool: at,
            names: Rc::clone(names),
            ttl_ms: pool.ttl_ms,
            fallback: *fallback,
            keys: Rc::clone(&known.keys),
        }),
        _ => None,
    });
    pools.collect()
}

/// Lists the keys again after they have changed to this generation.
pub fn keys_changed(generation: u64) {
    LOCKS.with_borrow_mut(|locks| {
        locks.list_keys();
        for member in locks.members.iter_mut().flatten() {
            member.generation = generation;
        }
    });
    crate::telemetry::sharing::keys_changed(key_ids());
    let groups = LOCKS.with_borrow(|locks| locks.members.len());
    (0..groups).for_each(cool_downs::ask_all_nodes);
}

impl Locks {
    fn list_keys(&mut self) {
        let before = std::mem::take(&mut self.locked_keys);
        for pool in &self.pools {
            for (index, key) in pool.keys.indexed() {
                let known = before
                    .get(&index)
                    .filter(|locked_key| Rc::ptr_eq(&locked_key.key, &key));
                let locked_key = known.cloned();
                let locked_key = locked_key.unwrap_or_else(|| Rc::new(pool.locked_key(key)));
                self.locked_keys.insert(index, locked_key);
            }
        }
        self.named = named(&self.locked_keys);
    }
}

impl Lockable {
    fn locked_key(&self, key: Rc<PoolKey>) -> LockedKey {
        let commands = |slot: Slot| {
            let commands = SlotCommands::new(slot, Rc::clone(&self.names), self.ttl_ms);
            Rc::new(commands)
        };
        // The configuration and `key_files` accept only keys whose slots have valid names.
        let slots = key.slots().unwrap_or_default();
        LockedKey {
            group: self.group,
            pool: self.pool,
            names: Rc::clone(&self.names),
            slots: slots.into_iter().map(commands).collect(),
            ttl_ms: self.ttl_ms,
            fallback: self.fallback,
            key,
        }
    }
}

fn named(locked_keys: &FxHashMap<u32, Rc<LockedKey>>) -> FxHashMap<String, (u32, u32)> {
    let mut named = FxHashMap::default();
    for (&key, locked_key) in locked_keys {
        for (ordinal, commands) in (0..).zip(&locked_key.slots) {
            let name = [locked_key.names.base(), commands.slot.field()].concat();
            named.insert(name, (key, ordinal));
        }
    }
    named
}

/// Releases all locks when the worker exits, as far as the sockets accept the commands.
pub fn stop() {
    late::make_late();
    let mut locks = LOCKS.take();
    let Locks {
        members,
        done,
        holds,
        ended,
        retained,
        ..
    } = &mut locks;
    sharing::stop(members);
    let reclaimed = retained::reclaim_all(retained);
    for (hold, lock) in &reclaimed {
        let group = hold.locked_key.group;
        if let Some(Some(member)) = members.get_mut(group) {
            let lock = hold.give_back(*lock);
            member.group.unlock(&hold.slot, lock, clock(), done);
        }
    }
    for hold in holds.values() {
        let member = members
            .get_mut(hold.locked_key.group)
            .and_then(Option::as_mut);
        let given_back = hold.ending && !ended.contains(&hold.grant.handle);
        if let (Some(member), Some(lock), false) = (member, hold.lock, given_back) {
            let lock = hold.give_back(lock);
            member.group.unlock(&hold.slot, lock, clock(), done);
        }
    }
    for member in members.iter_mut().flatten() {
        member.group.end(clock(), done);
    }
    let reclaimed = reclaimed.iter().map(|(hold, _)| &hold.grant.handle);
    for &handle in holds.keys().chain(reclaimed) {
        in_zone(|zone| zone.release(handle, now()));
    }
}

impl Member {
    fn new(
        at: usize,
        known: &TakenOver,
        group: &RedlockGroup,
        pools: Vec<(Rc<PoolNames>, PoolId)>,
        shortest_ttl: u64,
    ) -> Self {
        let number = at as u64;
        let setup = Setup {
            nodes: group.nodes.clone(),
            timeout_ms: group.timeout_ms,
            drift: group.drift,
            shortest_ttl_ms: shortest_ttl,
            retry: group.retry,
            quarantine_ms: group.quarantine_ms.unwrap_or_default(),
            bootstrap: group.bootstrap,
            pools: pools.iter().map(|(names, _)| Rc::clone(names)).collect(),
            owner: format!("{}:{}", nginx_safe::host_name(), nginx_safe::process_id()),
            instance: known.instance.clone(),
            number: at,
        };
        let renewal_ms = group.renewal_ms.unwrap_or(shortest_ttl / 3).max(10);
        let mut renewal = Timer::new(true, renew, number);
        renewal.start(renewal_ms);
        // A lock that is handed over must last until its first renewal.
        let left_ms = (shortest_ttl / 2).max(renewal_ms);
        let quiet_until = vec![0; pools.len()];
        let retain = group.retain.map(|retain| Retain {
            idle_ms: retain.idle_ms,
            longest_ms: FAIR_MS,
            most: retain.most,
        });
        Self {
            retain,
            quiet_until,
            idle: Timer::new(true, |group| retained::end_due(group as usize), number),
            idle_due_ms: 0,
            group: Group::new(
                setup,
                group.quorum,
                StdRng::from_os_rng(),
                NginxTransport::new(at, on_event),
            ),
            generation: known.generation,
            pools,
            fallen_back: false,
            hand_over: (group.hand_over, left_ms),
            renewal_ms,
            flush: Timer::new(true, flush, number),
            late_flush: Timer::new(true, flush, number),
            renewal,
            ends: Timer::new(true, |group| services::tend(group as usize), number),
            tend: Timer::new(true, tend, number),
            share: Timer::new(true, sharing::tick, number),
        }
    }

    /// The pool in the zone that has these names.
    pub(super) fn pool_of(&self, names: &PoolNames) -> Option<PoolId> {
        let same = |(known, _): &&(Rc<PoolNames>, PoolId)| known.base() == names.base();
        self.pools.iter().find(same).map(|&(_, id)| id)
    }

    /// Conditions for handing over a lock of a pool.
    pub(super) fn hand_over(&self, names: &PoolNames, lock: Option<&Lock>) -> HandOver {
        let (most, left_ms) = self.hand_over;
        HandOver {
            most,
            to_others: lock.is_none_or(|lock| self.group.is_heard(lock)),
            longest_ms: self.group.is_crowded(names).then_some(FAIR_MS),
            left_ms,
            generation: self.generation,
            retain: self.retain.filter(|_| !self.is_quiet(names)),
        }
    }

    /// Has the locks released at this time whose retention ends.
    pub(super) fn wake_at(&mut self, until_ms: u64) {
        self.idle_due_ms = until_ms;
        self.idle.start(until_ms.saturating_sub(clock()).max(1));
    }

    fn place_of(&self, names: &PoolNames) -> Option<usize> {
        let mut pools = self.pools.iter();
        pools.position(|(known, _)| known.base() == names.base())
    }

    /// Whether no locks of a pool are retained for now.
    fn is_quiet(&self, names: &PoolNames) -> bool {
        let until = self.place_of(names).map(|at| self.quiet_until[at]);
        until.is_none_or(|until| clock() < until)
    }

    /// Notes that another machine waits for a pool's slots: no locks are retained for a while.
    pub(super) fn others_wait(&mut self, names: &PoolNames) {
        if let Some(at) = self.place_of(names) {
            self.quiet_until[at] = clock() + QUIET_MS;
        }
    }
}

/// States of a group's nodes, comma-separated, in the order of the configuration.
pub fn nodes(group: usize, names: &PoolNames) -> Option<String> {
    LOCKS.with(|locks| {
        let locks = locks.try_borrow().ok()?;
        let reports = locks.member(group)?.group.reports(names, clock());
        let states: Vec<_> = reports.map(|node| node.state.as_str()).collect();
        Some(states.join(","))
    })
}

/// States of a group's nodes, with addresses and round trips.
pub fn node_states(group: usize, names: &PoolNames) -> Option<Vec<NodeStatus>> {
    LOCKS.with(|locks| {
        let locks = locks.try_borrow().ok()?;
        let reports = locks.member(group)?.group.reports(names, clock());
        let states = reports.map(|node| NodeStatus {
            node: node.name.to_owned(),
            state: node.state.as_str().to_owned(),
            error: node.refuses.map(|why| why.as_str().to_owned()),
            round_trip_us: node.round_trip_us,
        });
        Some(states.collect())
    })
}

/// State of a group's nodes and its counts in this worker, as JSON.
pub fn status(group: usize, names: &PoolNames) -> Option<String> {
    LOCKS.with(|locks| {
        let locks = locks.try_borrow().ok()?;
        let group = &locks.member(group)?.group;
        let node = |node: NodeReport<'_>| {
            json!({
                "node": node.name,
                "state": node.state.as_str(),
                "error": node.refuses.map(|why| why.as_str()),
                "round_trip_us": node.round_trip_us,
                "granted": node.counts.granted,
                "refused": node.counts.refused,
                "failed": node.counts.failed,
                "timeouts": node.counts.timeouts,
            })
        };
        let nodes: Vec<_> = group.reports(names, clock()).map(node).collect();
        let counts = group.counts;
        let status = json!({
            "nodes": nodes,
            "others_wait": group.is_crowded(names),
            "locked": counts.locked,
            "handed_over": counts.handed_over,
            "retained": counts.retained,
            "reused": counts.reused,
            "busy": counts.busy,
            "no_quorum": counts.no_quorum,
            "quarantine": counts.quarantine,
            "too_late": counts.too_late,
            "abandoned": counts.abandoned,
            "lost": counts.lost,
        });
        Some(status.to_string())
    })
}

/// Handles an event of a node's connection, or a timer of the group.
fn on_event(argument: u64) {
    let (at, call) = Call::of(argument);
    with(at, |member, _, done| match call {
        Call::Timer(GroupTimer::Timeout) => member.group.timeouts(clock(), done),
        Call::Timer(GroupTimer::Wake) => member.group.wake(done),
        Call::Node(node) => member.group.node_event(node, clock(), done),
    });
    settle();
}

/// Sends all commands of one turn of the event loop together.
fn flush(group: u64) {
    let ended = LOCKS.with_borrow_mut(|locks| std::mem::take(&mut locks.ended));
    ended.into_iter().for_each(end_locked);
    LOCKS.with_borrow_mut(|locks| {
        let Locks { members, done, .. } = locks;
        if let Some(Some(member)) = members.get_mut(group as usize) {
            member.group.flush(clock(), done);
        }
    });
    settle();
}

fn tend(group: u64) {
    late::make_late();
    maintain_queues(group as usize);
    cool_downs::ask_silent_nodes(group as usize);
    services::give_up_late();
    with(group as usize, |member, _, done| {
        member.group.tend(clock(), done);
        member.tend.start(TEND_MS);
    });
    settle();
}

/// Locks of one pool that are to be extended.
struct Batch {
    names: Rc<PoolNames>,
    ttl_ms: u64,
    locks: Vec<(LeaseHandle, Slot, Lock)>,
}

/// Extends the locks of a group's leases, and maintains its service locks.
fn renew(group: u64) {
    let at = group as usize;
    with(at, |member, holds, done| {
        let now = clock();
        let mut pools: FxHashMap<usize, Batch> = FxHashMap::default();
        let mut next = member.renewal_ms;
        for (&handle, hold) in holds.iter_mut() {
            let settled = hold.ending || hold.prolonging;
            let (Some(lock), false, true) = (hold.lock, settled, hold.locked_key.group == at)
            else {
                continue;
            };
            // Renew again after half of the remaining time, and at shorter intervals if that fails.
            let left = lock.deadline_ms.saturating_sub(now);
            next = next.min((left / 2).max(10));
            let batch = pools.entry(hold.locked_key.pool).or_insert_with(|| Batch {
                names: Rc::clone(&hold.locked_key.names),
                ttl_ms: hold.locked_key.ttl_ms,
                locks: vec![],
            });
            hold.may_be_extended = true;
            batch.locks.push((handle, hold.slot.slot.clone(), lock));
        }
        for batch in pools.into_values() {
            let Batch {
                names,
                ttl_ms,
                locks,
            } = batch;
            member.group.prolong(&names, ttl_ms, &locks, now, done);
        }
        member.renewal.start(next);
    });
    services::tend(at);
    settle();
}

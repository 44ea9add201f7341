//! A worker process: its part of the zone, the leases it renews, and its waiters.

mod asking;

pub use asking::{Ask, Asked, ask, outlook};

use std::cell::RefCell;
use std::collections::HashMap;

use nginx_safe::{ConfResult, Cycle, Level, SharedZone, Timer, Token, Watcher};
use openai_core::circuit::Status;
use openai_core::lease::{
    Avoid, Cancelled, ChangeError, Changed, EntrustError, Grant, KeyView, LeaseHandle, Lost,
    PoolConfig, PoolGauges, PoolId, Served, ServiceLock, ServiceState, Terms, WaitTicket, WorkerId,
};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::json;
use slotmap::{SlotMap, new_key_type};

use crate::adapter::{change, change_quietly, now};
use crate::conf::{Main, Store, TakenOver};
use crate::ctx::Lease;
use crate::keeper;
use crate::locks;
use crate::log::event;
use crate::phase;
use crate::probe;
use crate::watch;

new_key_type! {
    /// A lease's place in the list of those to renew.
    pub struct LeaseKey;
}

/// The longest that waiters of a worker without a channel go unseen.
const UNSIGNALLED_MS: u64 = 100;

struct Worker {
    shared: SharedZone,
    id: WorkerId,
    generation: u64,
    random: StdRng,
    leases: SlotMap<LeaseKey, (LeaseHandle, Token)>,
    renewal: Timer,
    renewal_ms: u64,
    /// Due when the next lease ends that waiters may be served from.
    expiry: Timer,
    mail: Timer,
}

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

fn with<T>(act: impl FnOnce(&mut Worker) -> T) -> Option<T> {
    WORKER.with_borrow_mut(|worker| worker.as_mut().map(act))
}

/// Enters the worker into the zone.
pub fn start(main: &Main, cycle: Cycle) -> ConfResult {
    if nginx_safe::serves_requests() && enter(main, cycle) == Some(false) {
        let fields = json!({ "reason": "too many workers at once" });
        event(Level::Alert, "worker_refused", fields);
    }
    Ok(())
}

/// Takes a place in the zone, if there is a zone: `Some(false)` when it is full.
fn enter(main: &Main, cycle: Cycle) -> Option<bool> {
    let (shared, known) = main.shared.zip(main.taken_over())?;
    let (pid, generation) = (nginx_safe::process_id(), known.generation);
    let dead = |pid| !nginx_safe::alive(pid);
    let id = change(shared, |zone| zone.enroll(pid, generation, now(), dead)).flatten();
    let Some(id) = id else {
        return Some(false);
    };
    let shortest = main
        .pools
        .iter()
        .map(|pool| pool.ttl_ms)
        .min()
        .unwrap_or(30_000);
    let mut renewal_ms = shortest / 3;
    let watched = shared
        .channel(id.index())
        .is_some_and(|fd| nginx_safe::watch::<Mail>(cycle, fd));
    if !watched {
        renewal_ms = renewal_ms.min(UNSIGNALLED_MS);
        let recheck = json!({ "recheck_ms": renewal_ms });
        event(Level::Warn, "worker_without_channel", recheck);
    }
    let mut renewal = Timer::new(true, |_| tick(), 0);
    renewal.start(renewal_ms);
    let worker = Worker {
        shared,
        id,
        generation,
        random: StdRng::from_os_rng(),
        leases: SlotMap::with_key(),
        renewal,
        renewal_ms,
        expiry: Timer::new(true, |_| expire(), 0),
        mail: Timer::new(true, |_| collect(), 0),
    };
    WORKER.with_borrow_mut(|place| *place = Some(worker));
    locks::start(main);
    probe::start(main);
    watch::start(main);
    keeper::start(main);
    Some(true)
}

/// Strikes the worker off; what it still holds is free at once.
pub fn stop() {
    keeper::stop();
    watch::stop();
    locks::stop();
    probe::stop();
    if let Some(worker) = WORKER.take() {
        change(worker.shared, |zone| zone.dismiss(worker.id, now()));
    }
}

/// Chance, where there is no worker.
pub fn chance() -> u64 {
    StdRng::from_os_rng().next_u64()
}

/// Chance.
pub fn random() -> u64 {
    with(|worker| worker.random.next_u64()).unwrap_or_default()
}

/// Makes a lease of a slot that was granted: at once, or once it is locked.
pub fn keep(main: &Main, at: usize, grant: &Grant, token: Token, avoid: &Avoid) -> Asked {
    let pool = main.pools.get(at);
    let key = pool.and_then(|pool| pool.keys.get(grant.key));
    let (Some(pool), Some(key)) = (pool, key) else {
        // Cannot be: the zone grants only what this worker knows.
        event(
            Level::Alert,
            "unknown_key",
            json!({ "lock_id": lease_id(grant) }),
        );
        give_back(grant);
        return Asked::Unavailable;
    };
    let renewal = match (&pool.store, grant.lock) {
        (Store::Redlock { .. }, None) => {
            locks::begin(grant, token, avoid);
            return Asked::Locks(grant.handle);
        }
        (Store::Redlock { .. }, Some(lock)) => {
            locks::take_over(grant, lock, token);
            None
        }
        _ => renew(grant, token),
    };
    let lease = Lease {
        grant: *grant,
        pool: at,
        renewal,
    };
    Asked::Leased(lease, key)
}

/// Has a lease renewed for as long as it is held.
pub fn renew(grant: &Grant, token: Token) -> Option<LeaseKey> {
    with(|worker| worker.leases.insert((grant.handle, token)))
}

/// Makes a lease a service's: nobody renews it any more.
pub fn entrust(lease: &Lease, terms: &Terms<'_>) -> Result<ServiceLock, EntrustError> {
    let handle = lease.grant.handle;
    let entrusted = in_zone(|zone| zone.entrust(handle, terms, now()));
    let lock = entrusted.unwrap_or(Err(EntrustError::Lost))?;
    match lease.renewal {
        Some(renewal) => drop(with(|worker| worker.leases.remove(renewal))),
        None => locks::entrusted(handle),
    }
    watch_expiry();
    Ok(lock)
}

/// Ends a service's lock that the nodes have, too, and gives it back there.
pub fn reclaim(id: u128, state: ServiceState) {
    let reclaimed = with(|worker| {
        let to = (worker.id, locks::give_back_ms());
        worker.change(|zone| zone.reclaim_service_lock(id, state, to, now()))
    });
    if let Some(grant) = reclaimed.flatten().flatten() {
        locks::give_back_service(&grant);
    }
}

/// A name for a request that has none.
pub fn request_id() -> Option<String> {
    with(|worker| format!("{:032x}", worker.nonce()))
}

/// Changes the zone as this worker.
pub fn in_zone<T>(act: impl FnOnce(&mut openai_core::lease::Zone<'_>) -> T) -> Option<T> {
    with(|worker| worker.change(act)).flatten()
}

/// Brings keys that have been read anew to the zone.
pub fn change_keys(pools: &[PoolConfig]) -> Option<Result<Changed, ChangeError>> {
    with(|worker| {
        let id = worker.id;
        let changed = worker.change(|zone| zone.change_keys(id, pools, now()))?;
        if let Ok(changed) = &changed {
            worker.generation = changed.accepted.generation;
        }
        Some(changed)
    })
    .flatten()
}

/// The generation of keys that other workers have, and this one has not.
pub fn newer_keys() -> Option<u64> {
    with(|worker| {
        let id = worker.id;
        worker.change(|zone| zone.newer_keys(id)).flatten()
    })
    .flatten()
}

/// Ends a lease.
pub fn release(lease: &Lease) {
    let Some(renewal) = lease.renewal else {
        return locks::end(lease.grant.handle);
    };
    let released = with(|worker| {
        worker.leases.remove(renewal);
        worker.change(|zone| zone.release(lease.grant.handle, now()))
    });
    if released.flatten() == Some(Err(Lost)) {
        phase::lease_lost(None, lease.grant.handle);
    }
}

/// Ends a lease that nobody came to hold.
fn give_back(grant: &Grant) {
    match grant.lock {
        Some(lock) => locks::give_back(grant, lock),
        None => drop(in_zone(|zone| zone.release(grant.handle, now()))),
    }
}

/// Gives up a place in the queue.
pub fn leave(ticket: WaitTicket) {
    let left = with(|worker| worker.change(|zone| zone.cancel(ticket))).flatten();
    if let Some(Cancelled::Served(grant)) = left {
        give_back(&grant);
    }
}

/// What a pool holds now, over all workers.
pub fn gauges(known: &TakenOver, pool: usize) -> Option<PoolGauges> {
    let id = known.pools.get(pool)?.id;
    in_zone(|zone| {
        zone.expire(now());
        zone.gauges(id)
    })
}

/// All pools, keys and circuits at one moment.
pub struct Standing {
    /// In the order of the configuration.
    pub gauges: Vec<PoolGauges>,
    /// Keys, with the positions of their pools.
    pub keys: Vec<(usize, KeyView)>,
    /// In the order of the upstreams.
    pub circuits: Vec<Option<Status>>,
}

/// How everything does: one look at the zone.
pub fn standing(known: &TakenOver) -> Option<Standing> {
    let positions = known
        .pools
        .iter()
        .enumerate()
        .map(|(at, pool)| (pool.id, at));
    let positions: HashMap<PoolId, usize> = positions.collect();
    let now = now();
    let (gauges, keys, circuits) = in_zone(|zone| {
        zone.expire(now);
        let gauges: Vec<_> = known
            .pools
            .iter()
            .map(|pool| zone.gauges(pool.id))
            .collect();
        let circuits = known.circuits.iter();
        let circuits: Vec<_> = circuits.map(|&id| zone.circuit_status(id?, now)).collect();
        (gauges, zone.keys(now), circuits)
    })?;
    let keys = keys.into_iter();
    let keys = keys.filter_map(|(pool, view)| Some((*positions.get(&pool)?, view)));
    Some(Standing {
        gauges,
        keys: keys.collect(),
        circuits,
    })
}

/// How each key of a pool does.
pub fn listing(known: &TakenOver, pool: usize) -> Option<Vec<KeyView>> {
    let id = known.pools.get(pool)?.id;
    in_zone(|zone| {
        let now = now();
        zone.expire(now);
        zone.listing(id, now)
    })
}

/// The name of a lease, for logs and headers.
pub fn lease_id(grant: &Grant) -> String {
    format!("{:032x}", grant.handle.nonce())
}

impl Worker {
    fn nonce(&mut self) -> u128 {
        (u128::from(self.random.next_u64()) << 64) | u128::from(self.random.next_u64())
    }

    /// Changes the zone. Own waiters are seen to later in this turn of the event
    /// loop, without a system call.
    fn change<T>(&mut self, act: impl FnOnce(&mut openai_core::lease::Zone<'_>) -> T) -> Option<T> {
        let watched = |zone: &mut openai_core::lease::Zone<'_>| (act(zone), zone.take_alarm());
        let ((done, alarm), wakes) = change_quietly(self.shared, watched)?;
        if let Some(at) = alarm {
            self.expiry.start(at.saturating_sub(now().mono_ms).max(1));
        }
        for worker in wakes.iter() {
            if worker == self.id {
                self.mail.soon();
            } else {
                self.shared.signal(worker.index());
            }
        }
        Some(done)
    }
}

/// The eventfd by which other workers tell that a waiter of ours was served.
struct Mail;

impl Watcher for Mail {
    fn woken() {
        collect();
    }
}

/// Hands out the leases that our waiters were served with.
fn collect() {
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
        watch::hurry(generation);
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
        let taken = Token::of(tag).with(|request| phase::served(request, &grant, arrival));
        if taken != Some(true) {
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

fn expire() {
    in_zone(|zone| zone.expire(now()));
    collect();
    watch_expiry();
}

/// Renews all leases, and ends those that nobody else will.
fn tick() {
    // What waiters were served with lapses by `expire`, below.
    collect();
    let mut lost: Vec<(LeaseHandle, Token)> = vec![];
    with(|worker| {
        let leases: Vec<_> = worker
            .leases
            .iter()
            .map(|(key, &lease)| (key, lease))
            .collect();
        let refused = worker.change(|zone| {
            let now = now();
            let refused = leases
                .into_iter()
                .filter(|(_, (h, _))| zone.renew(*h, now) == Err(Lost));
            let refused: Vec<_> = refused.collect();
            zone.expire(now);
            refused
        });
        for (key, lease) in refused.into_iter().flatten() {
            worker.leases.remove(key);
            lost.push(lease);
        }
        worker.renewal.start(worker.renewal_ms);
    });
    collect();
    for (handle, token) in lost {
        phase::lease_lost(Some(token), handle);
        phase::lost(token, handle);
    }
}

//! The leases that this worker renews.

use nginx_safe::{Level, Token};
use openai_core::lease::{
    Avoid, EntrustError, Grant, LeaseHandle, Lost, ServiceLock, ServiceState, Terms,
};
use serde_json::json;
use slotmap::new_key_type;

use super::asking::Asked;
use super::taken_over::key;
use super::waiters::{collect, watch_expiry};
use super::zone::{Worker, as_worker, in_zone, with};
use super::{locks, messages};
use crate::config::{Main, Store};
use crate::telemetry::{event, now};

new_key_type! {
    /// Entry in this worker's list of leases to renew.
    pub struct LeaseKey;
}

/// A lease, as the request that holds it knows it.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    pub grant: Grant,
    /// The position of its pool in the configuration.
    pub pool: usize,
    /// `None` when its lock on the nodes is renewed instead.
    pub renewal: Option<LeaseKey>,
}

impl Lease {
    /// Milliseconds since the grant.
    pub fn held_ms(&self) -> u64 {
        now().mono_ms.saturating_sub(self.grant.granted_ms)
    }
}

/// Makes a lease of a granted slot, or has it locked on the nodes first if its pool needs a lock.
pub fn keep(main: &Main, at: usize, grant: &Grant, token: Token, avoid: &Avoid) -> Asked {
    let pool = main.pools.get(at);
    let key = key(at, grant.key);
    let (Some(pool), Some(key)) = (pool, key) else {
        // Not expected: the zone grants only keys that this worker knows.
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

/// Renews a lease at every interval until it is removed from the list.
pub fn renew(grant: &Grant, token: Token) -> Option<LeaseKey> {
    with(|worker| worker.leases.insert((grant.handle, token)))
}

/// Turns a lease into a service lock, which this worker no longer renews.
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

/// Ends a service lock that is also on the nodes, and releases it there.
pub fn reclaim(id: u128, state: ServiceState) {
    let give_back_ms = locks::give_back_ms();
    let reclaimed = as_worker(|zone, worker| {
        zone.reclaim_service_lock(id, state, (worker, give_back_ms), now())
    });
    if let Some(grant) = reclaimed.flatten() {
        locks::give_back_service(&grant);
    }
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
        messages::lost(None, lease.grant.handle);
    }
}

/// Releases a granted slot whose request is gone.
pub(super) fn give_back(grant: &Grant) {
    match grant.lock {
        Some(lock) => {
            unused(grant.handle);
            locks::give_back(grant, lock);
        }
        None => release_unused(grant.handle),
    }
}

/// Reverses the charge of a lease with which no request was sent. It must be released afterwards,
/// and this be called only once.
pub fn unused(handle: LeaseHandle) {
    in_zone(|zone| zone.unused(handle, now()));
}

/// Releases a lease in the zone with which no request was sent.
pub(super) fn release_unused(handle: LeaseHandle) {
    in_zone(|zone| {
        let _ = zone.unused(handle, now());
        zone.release(handle, now())
    });
}

/// Id of a lease in logs and headers: its nonce as 32 hexadecimal digits.
pub fn lease_id(grant: &Grant) -> String {
    format!("{:032x}", grant.handle.nonce())
}

/// Renews this worker's leases, expires overdue leases of any worker, and takes back what dead
/// workers have.
pub(super) fn renew_all() {
    let mut lost: Vec<(LeaseHandle, Token)> = vec![];
    // Renew first: everything below ends leases that are overdue, as those of this worker are if it
    // was stopped for long.
    with(|worker| {
        let leases: Vec<_> = worker
            .leases
            .iter()
            .map(|(key, &lease)| (key, lease))
            .collect();
        let renewed = worker.change(|zone| {
            let now = now();
            let refused = leases
                .into_iter()
                .filter(|(_, (h, _))| zone.renew(*h, now) == Err(Lost));
            let refused: Vec<_> = refused.collect();
            zone.expire(now);
            (refused, zone.pids().collect::<Vec<_>>())
        });
        let (refused, pids) = renewed.unwrap_or_default();
        for (key, lease) in refused {
            worker.leases.remove(key);
            lost.push(lease);
        }
        remove_dead(worker, pids);
        worker.renewal.start(worker.renewal_ms);
    });
    collect();
    for (handle, token) in lost {
        messages::lost(Some(token), handle);
    }
}

/// Removes dead workers from the zone. A worker that dies while it shuts down is not replaced, so
/// none that starts does this.
fn remove_dead(worker: &mut Worker, mut pids: Vec<u32>) {
    // Tested without the zone's mutex; only those found dead are tested again, because their
    // numbers may have been given to new workers.
    pids.retain(|&pid| !nginx_safe::alive(pid));
    if !pids.is_empty() {
        let dead = |pid| pids.contains(&pid) && !nginx_safe::alive(pid);
        worker.change(|zone| zone.remove_dead(now(), dead));
    }
}

//! The leases that this worker renews.

use nginx_safe::{Level, Token};
use openai_core::lease::{
    Avoid, EntrustError, Grant, LeaseHandle, Lost, ServiceLock, ServiceState, Terms,
};
use serde_json::json;
use slotmap::new_key_type;

use super::asking::Asked;
use super::waiters::{collect, watch_expiry};
use super::zone::{in_zone, with};
use super::{locks, news};
use crate::config::{Main, Store};
use crate::telemetry::{event, now};

new_key_type! {
    /// A lease's place in the list of those to renew.
    pub struct LeaseKey;
}

/// A lease of a slot, as the request that has it knows it.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    pub grant: Grant,
    /// The position of its pool in the configuration.
    pub pool: usize,
    /// None when its lock is what is renewed.
    pub renewal: Option<LeaseKey>,
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
        news::lost(None, lease.grant.handle);
    }
}

/// Ends a lease that nobody came to hold.
pub(super) fn give_back(grant: &Grant) {
    match grant.lock {
        Some(lock) => locks::give_back(grant, lock),
        None => drop(in_zone(|zone| zone.release(grant.handle, now()))),
    }
}

/// The name of a lease, for logs and headers.
pub fn lease_id(grant: &Grant) -> String {
    format!("{:032x}", grant.handle.nonce())
}

/// Renews all leases, and ends those that nobody else will.
pub(super) fn renew_all() {
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
        news::lost(Some(token), handle);
    }
}

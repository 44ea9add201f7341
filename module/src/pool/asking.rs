//! Asking the zone for a lease.

use std::cell::Cell;
use std::rc::Rc;

use nginx_safe::{Cycle, Token};
use openai_core::circuit::{Admission, CircuitId, Permit};
use openai_core::lease::{Avoid, Grant, LeaseHandle, Outlook, WaitTicket, Want};

use super::leases::{Lease, keep};
use super::locks;
use super::waiters::watch_expiry;
use super::zone::{enter, with};
use crate::config::{Main, PoolKey, Store, TakenOver};
use crate::telemetry::now;

/// What came of asking for a lease.
pub enum Asked {
    Leased(Lease, Rc<PoolKey>),
    /// The slot is leased here; it has to be locked.
    Locks(LeaseHandle),
    Waits(WaitTicket),
    QueueFull,
    /// The circuit of its upstream is open.
    Open,
    /// All keys are out for longer than it may wait: the first returns in so many milliseconds.
    CoolingDown(u64),
    /// All keys are revoked or out of quota: the first is tried again in so many milliseconds.
    Unhealthy(u64),
    Unavailable,
}

/// A request for a lease.
pub struct Ask<'a> {
    /// The position of the pool in the configuration.
    pub pool: usize,
    pub ttl_ms: u64,
    pub priority: i32,
    /// How long it may wait for a slot; 0 for not at all.
    pub wait_ms: u64,
    /// Its place among those of its priority, when it has waited before.
    pub arrival: Option<u64>,
    /// The tokens that it is estimated to take; 0 if unknown.
    pub tokens: u32,
    /// The keys that it has tried.
    pub avoid: Avoid,
    /// Whom it is for, as listings shall say.
    pub holder: u64,
    /// The circuit of the upstream that it is to go to.
    pub circuit: Option<CircuitId>,
    /// Takes the circuit's leave to send the request, if that can be done at once.
    pub permit: &'a Cell<Option<Permit>>,
}

/// Asks for a lease.
pub fn ask(main: &Main, known: &TakenOver, ask: &Ask<'_>, token: Token) -> Asked {
    if with(|_| ()).is_none() {
        // There were too many workers at the start; some may have gone since.
        enter(main, Cycle::running());
    }
    let pool = ask.pool;
    let Some(id) = known.pools.get(pool).map(|pool| pool.id) else {
        return Asked::Unavailable;
    };
    let locked = matches!(
        main.pools.get(pool).map(|pool| &pool.store),
        Some(Store::Redlock { .. })
    );
    let asked = with(|worker| {
        let want = Want {
            pool: id,
            worker: worker.id,
            generation: worker.generation,
            nonce: worker.nonce(),
            ttl_ms: ask.ttl_ms,
            priority: ask.priority,
            tag: token.number(),
            arrival: ask.arrival,
            tokens: ask.tokens,
            avoid: ask.avoid,
            holder: ask.holder,
        };
        worker.change(|zone| {
            let now = now();
            if let Some(id) = ask.circuit
                && zone.circuit_open(id, now).is_some()
            {
                return Found::Open;
            }
            if let Some(grant) = zone.acquire(&want, now) {
                // A probe is counted: not before the slot is locked, which may be in vain.
                let at_once =
                    |&id: &CircuitId| !locked || grant.lock.is_some() || zone.circuit_is_closed(id);
                if let Some(id) = ask.circuit.filter(at_once)
                    && let Admission::Permitted(permit) = zone.admit(id, now)
                {
                    ask.permit.set(Some(permit));
                }
                return Found::Slot(grant);
            }
            match zone.outlook(&want, now) {
                Outlook::CoolingDown { soonest_ms } if soonest_ms > ask.wait_ms => {
                    Found::CoolingDown(soonest_ms)
                }
                Outlook::Unhealthy { soonest_ms } => Found::Unhealthy(soonest_ms),
                _ if ask.wait_ms == 0 => Found::QueueFull,
                _ => zone.enqueue(&want).map_or(Found::QueueFull, Found::Queued),
            }
        })
    });
    match asked.flatten() {
        None => Asked::Unavailable,
        Some(Found::Slot(grant)) => keep(main, pool, &grant, token, &ask.avoid),
        Some(Found::Queued(ticket)) => {
            watch_expiry();
            locks::waits(main, pool, ask.priority);
            Asked::Waits(ticket)
        }
        Some(Found::QueueFull) => Asked::QueueFull,
        Some(Found::CoolingDown(soonest_ms)) => Asked::CoolingDown(soonest_ms),
        Some(Found::Unhealthy(soonest_ms)) => Asked::Unhealthy(soonest_ms),
        Some(Found::Open) => Asked::Open,
    }
}

/// What the zone has for a request.
enum Found {
    Slot(Grant),
    Queued(WaitTicket),
    QueueFull,
    CoolingDown(u64),
    Unhealthy(u64),
    Open,
}

/// What a request that has tried these keys can hope for in a pool.
pub fn outlook(known: &TakenOver, pool: usize, avoid: Avoid) -> Option<Outlook> {
    let id = known.pools.get(pool)?.id;
    with(|worker| {
        let want = Want {
            pool: id,
            worker: worker.id,
            generation: worker.generation,
            nonce: 0,
            ttl_ms: 0,
            priority: 0,
            tag: 0,
            arrival: None,
            tokens: 0,
            avoid,
            holder: 0,
        };
        worker.change(|zone| {
            zone.expire(now());
            zone.outlook(&want, now())
        })
    })
    .flatten()
}

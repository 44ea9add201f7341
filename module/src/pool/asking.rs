//! Asking the zone for a lease.

use std::rc::Rc;

use nginx_safe::Token;
use openai_core::circuit::{Admission, CircuitId, Permit};
use openai_core::lease::{Avoid, Grant, LeaseHandle, Outlook, PoolId, WaitTicket, Want};

use super::leases::{Lease, keep};
use super::locks;
use super::taken_over::taken_over;
use super::waiters::watch_expiry;
use super::zone::{enter, with};
use crate::config::{Main, PoolKey, Store};
use crate::telemetry::now;

/// Result of asking for a lease.
pub enum Asked {
    /// The request has a lease of this slot, and the key.
    Leased(Lease, Rc<PoolKey>),
    /// The slot is leased on this machine; the nodes are now asked to lock it.
    Locks(LeaseHandle),
    Waits(WaitTicket),
    /// The queue is full, or no slot is free and the request may not wait.
    QueueFull,
    /// The circuit of the chosen upstream is open.
    Open,
    /// All keys cool down for longer than the request may wait; milliseconds until the
    /// first returns.
    CoolingDown(u64),
    /// All keys are invalid or out of quota; milliseconds until the first is tried again.
    Unhealthy(u64),
    /// There is no zone, this worker is not in it, or the key is unknown here.
    Unavailable,
}

/// What a request asks of the zone.
pub struct Ask {
    /// The position of the pool in the configuration.
    pub pool: usize,
    pub ttl_ms: u64,
    pub priority: i32,
    /// Longest time to wait for a slot, in milliseconds; 0 to never wait.
    pub wait_ms: u64,
    /// Position in the queue within its priority, if the request has waited before.
    pub arrival: Option<u64>,
    /// Estimated number of tokens; 0 if unknown.
    pub tokens: u32,
    /// Keys that the request has already tried.
    pub avoid: Avoid,
    /// Number of the client, by which listings find its name; 0 without a client.
    pub holder: u32,
    /// Circuit of the upstream to which the request will be sent.
    pub circuit: Option<CircuitId>,
}

/// Asks the zone for a lease. A grant may come with a permit of the circuit; without one,
/// ask for the permit later.
pub fn ask(main: &Main, ask: &Ask, token: Token) -> (Asked, Option<Permit>) {
    if with(|_| ()).is_none() {
        // The zone had no free worker entry at start; one may be free now.
        enter(main);
    }
    let pool = ask.pool;
    let Some(id) = id_of(pool) else {
        return (Asked::Unavailable, None);
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
                // In a half-open circuit a permit reserves one of few probes. Reserve it
                // only when the request can be sent: locking the slot may still fail.
                let at_once =
                    |&id: &CircuitId| !locked || grant.lock.is_some() || zone.circuit_is_closed(id);
                let admission = ask.circuit.filter(at_once).map(|id| zone.admit(id, now));
                let permit = match admission {
                    Some(Admission::Permitted(permit)) => Some(permit),
                    _ => None,
                };
                return Found::Slot(grant, permit);
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
    let asked = match asked.flatten() {
        None => Asked::Unavailable,
        Some(Found::Slot(grant, permit)) => {
            if grant.lock.is_some() {
                locks::reused(main, pool);
            }
            return (keep(main, pool, &grant, token, &ask.avoid), permit);
        }
        Some(Found::Queued(ticket)) => {
            watch_expiry();
            locks::waits(main, pool, ask.priority);
            Asked::Waits(ticket)
        }
        Some(Found::QueueFull) => Asked::QueueFull,
        Some(Found::CoolingDown(soonest_ms)) => Asked::CoolingDown(soonest_ms),
        Some(Found::Unhealthy(soonest_ms)) => Asked::Unhealthy(soonest_ms),
        Some(Found::Open) => Asked::Open,
    };
    (asked, None)
}

/// Id of a pool in the zone, by its position in the configuration.
fn id_of(pool: usize) -> Option<PoolId> {
    Some(taken_over()?.pools.get(pool)?.id)
}

/// What the zone returned.
enum Found {
    Slot(Grant, Option<Permit>),
    Queued(WaitTicket),
    QueueFull,
    CoolingDown(u64),
    Unhealthy(u64),
    Open,
}

/// Why a pool has no key for a request that has tried the keys in `avoid`.
pub fn outlook(pool: usize, avoid: Avoid) -> Option<Outlook> {
    let id = id_of(pool)?;
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

//! Listings of locks, leases and waiters.

use std::collections::HashMap;

use super::{SERVICE, ServiceRecord, ServiceState};
use crate::lease::lock::Lock;
use crate::lease::record::{NONE, nonce_of, slot_state};
use crate::lease::release::LeaseHandle;
use crate::lease::zone::{PoolId, Zone};

/// A service lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLock {
    /// The lease; its nonce is the lock's id.
    pub handle: LeaseHandle,
    /// Whether the lock is held, or how it ended.
    pub state: ServiceState,
    /// The pool of its key.
    pub pool: PoolId,
    /// The key's index in the zone; see [`ServiceLock::is_known`].
    pub key: u32,
    /// The slot's number within its key.
    pub ordinal: u32,
    /// Its fence.
    pub fence: u64,
    /// When the lock was taken, on the monotonic clock.
    pub taken_ms: u64,
    /// When the lock ends or ended.
    pub until_ms: u64,
    /// The lock on the nodes, where slots are shared by several machines.
    pub lock: Option<Lock>,
    /// Name of the client, by its token.
    pub client: String,
    /// Name of the service, as stated by the client.
    pub service: String,
    /// The service's identifier of the request.
    pub request: String,
    /// Context stated by the service.
    pub context: String,
}

impl ServiceLock {
    /// Whether the worker that asks knows the key. It does not if the key is newer than its
    /// configuration.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.key != NONE
    }
}

/// The holder of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// A request of the client with this number, see [`super::holder_of`]; 0 without a client.
    Request(u32),
    /// A service.
    Service(Box<ServiceLock>),
}

/// A slot that is leased on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The id of the lease.
    pub id: u128,
    /// The pool of its key.
    pub pool: PoolId,
    /// The key's index in the zone.
    pub key: u32,
    /// The slot's number within its key.
    pub ordinal: u32,
    /// Its fence.
    pub fence: u64,
    /// When the lease was granted, on the monotonic clock.
    pub since_ms: u64,
    /// When the lease ends unless renewed.
    pub until_ms: u64,
    /// The holder.
    pub holder: HeldBy,
}

/// A request that waits for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The pool.
    pub pool: PoolId,
    /// Number of the client; 0 without one.
    pub holder: u32,
    /// Requests with a higher priority are served first.
    pub priority: i32,
}

impl Zone<'_> {
    /// The requests that wait for a slot of these pools.
    #[must_use]
    pub fn waiters(&self, pools: &[PoolId]) -> Vec<Waiting> {
        let of_pool = |&pool: &PoolId| {
            let record = &self.pools[pool.0 as usize];
            let from = record.waiting_at as usize;
            let waiting = &self.waiting[from..from + record.waiting as usize];
            waiting.iter().map(move |&at| {
                let waiter = &self.waiters[at as usize];
                Waiting {
                    pool,
                    holder: waiter.holder,
                    priority: waiter.priority,
                }
            })
        };
        pools.iter().flat_map(of_pool).collect()
    }

    /// The slots of these pools that are leased on this machine.
    #[must_use]
    pub fn holdings(&self, pools: &[PoolId]) -> Vec<Holding> {
        let held = |head: &ServiceRecord| head.state == ServiceState::Held as u32;
        let services = self.services.iter().enumerate();
        let services = services.filter(|(_, head)| held(head));
        let services: HashMap<_, _> = services.map(|(at, head)| (head.slot, at)).collect();
        let slots = self.deadlines[..self.header.deadlines as usize].iter();
        let holding = |&at: &u32| {
            let slot = self.slots.get(at as usize)?;
            let pool = PoolId(self.keys[slot.key as usize].pool);
            if slot.state != slot_state::HELD || slot.owner == NONE || !pools.contains(&pool) {
                return None;
            }
            let id = nonce_of(slot.nonce);
            let service = services.get(&at).filter(|_| slot.owner == SERVICE);
            let holder = match service {
                Some(&record) => HeldBy::Service(Box::new(self.service_view(record))),
                None => HeldBy::Request(slot.holder),
            };
            Some(Holding {
                id,
                pool,
                key: self.index_for_worker(slot.key),
                ordinal: slot.ordinal,
                fence: slot.fence,
                since_ms: slot.granted_ms,
                until_ms: slot.deadline_ms,
                holder,
            })
        };
        slots.filter_map(holding).collect()
    }
}

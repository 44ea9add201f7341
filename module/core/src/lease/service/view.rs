//! What is told of locks and leases.

use std::collections::HashMap;

use super::{Head, SERVICE, ServiceState};
use crate::lease::lock::Lock;
use crate::lease::record::{NONE, nonce_of, slot_state};
use crate::lease::release::LeaseHandle;
use crate::lease::zone::{PoolId, Zone};

/// A lock of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLock {
    /// Its lease; the nonce is the lock's name.
    pub handle: LeaseHandle,
    /// What it is, or what became of it.
    pub state: ServiceState,
    /// The pool of its key.
    pub pool: PoolId,
    /// The key's index in the zone.
    pub key: u32,
    /// Which of the key's slots.
    pub ordinal: u32,
    /// Its fence.
    pub fence: u64,
    /// When it was taken, on the monotonic clock.
    pub taken_ms: u64,
    /// When it ends, or ended.
    pub until_ms: u64,
    /// The lock that it has on the nodes, where slots are leased on several machines.
    pub lock: Option<Lock>,
    /// Whose it is: by the token.
    pub client: String,
    /// And by the service's own word.
    pub service: String,
    /// The service's name for the request.
    pub request: String,
    /// What else the service has said of it.
    pub context: String,
}

/// Who has a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// A request, of the client that the number stands for; 0 for nobody.
    Request(u64),
    /// A service.
    Service(Box<ServiceLock>),
}

/// A slot under a lease of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The name of the lease.
    pub id: u128,
    /// The pool of its key.
    pub pool: PoolId,
    /// The key's index in the zone.
    pub key: u32,
    /// Which of the key's slots.
    pub ordinal: u32,
    /// Its fence.
    pub fence: u64,
    /// When it was granted, on the monotonic clock.
    pub since_ms: u64,
    /// When it ends, unless renewed.
    pub until_ms: u64,
    /// Who has it.
    pub holder: HeldBy,
}

/// A request that waits for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The pool that it waits for.
    pub pool: PoolId,
    /// The client that the number stands for; 0 for nobody.
    pub holder: u64,
    /// Higher is served sooner.
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

    /// The slots of these pools that are under a lease of this machine.
    #[must_use]
    pub fn holdings(&self, pools: &[PoolId]) -> Vec<Holding> {
        let held = |head: &Head| head.state == ServiceState::Held as u32;
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
                key: slot.key,
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

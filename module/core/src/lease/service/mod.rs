//! Service locks: leases that are held by a service and not by a request.
//!
//! A service lock is taken by a request and outlives it and its worker. It is not renewed; it
//! ends at its deadline unless its owner extends it. A record beside the slot stores the owner and
//! the context. The record is kept for a while after the lock has ended, so that its state can be
//! queried.

mod record;
mod tending;
mod view;

pub use record::{MAX_CONTEXT, MAX_NAME, MAX_REQUEST, ServiceState};
pub(crate) use record::{SERVICE, ServiceRecord, ServiceTexts};
pub use tending::{Stray, Tending};
pub use view::{HeldBy, Holding, ServiceLock, Waiting};

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use subtle::ConstantTimeEq;
use thiserror::Error;

use super::acquire::Grant;
use super::record::{NONE, nonce_words, slot_state};
use super::release::LeaseHandle;
use super::time::Now;
use super::worker::WorkerId;
use super::zone::{PoolId, Zone};

/// Bound of the additional time that nodes may keep a lock after the requested end, in
/// milliseconds: they count from the moment they receive the command.
const SLACK_MS: u64 = 60_000;

/// Owner, context and duration of a service lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms<'a> {
    /// Name of the client, by its token.
    pub client: &'a str,
    /// Name of the service, as stated by the client.
    pub service: &'a str,
    /// Identifier of the request: the same request gets the same lock again.
    pub request: &'a str,
    /// Context for listings.
    pub context: &'a str,
    /// End of the lock on the monotonic clock.
    pub until_ms: u64,
    /// Time on the monotonic clock until which nodes may keep the lock; 0 if they do not have it.
    pub asked_ms: u64,
}

/// Why a lease could not become a service lock.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EntrustError {
    /// The lease is lost.
    #[error("the lease is lost")]
    Lost,
    /// The key has begun a cool-down since it was leased.
    #[error("the key is cooling down")]
    CoolingDown,
    /// All records are in use.
    #[error("there is no room for another lock")]
    Full,
    /// The request already has a lock.
    #[error("the request already has a lock")]
    Known(Box<ServiceLock>),
}

/// Hash of a client's name, which identifies the client among the holders of slots; never 0.
#[must_use]
pub fn holder_of(client: &str) -> u32 {
    (digest(&[client]) as u32).max(1)
}

pub(super) fn digest(texts: &[&str]) -> u64 {
    // Fixed keys, so that the number is the same in every process.
    let mut hasher = DefaultHasher::new();
    texts.hash(&mut hasher);
    hasher.finish()
}

impl Zone<'_> {
    /// Turns a lease into a service lock. If the pool needs locks on nodes, the slot must be
    /// locked.
    pub fn entrust(
        &mut self,
        handle: LeaseHandle,
        terms: &Terms<'_>,
        now: Now,
    ) -> Result<ServiceLock, EntrustError> {
        self.holds(handle).map_err(|_| EntrustError::Lost)?;
        if let Some(known) = self.service_lock_for(terms.client, terms.service, terms.request) {
            return Err(EntrustError::Known(Box::new(known)));
        }
        if self
            .cooling_ms(self.slots[handle.slot as usize].key, now)
            .is_some()
        {
            return Err(EntrustError::CoolingDown);
        }
        let at = self.free_record().ok_or(EntrustError::Full)?;
        self.notes[at].write([terms.client, terms.service, terms.request, terms.context]);
        let slot = &mut self.slots[handle.slot as usize];
        self.services[at] = ServiceRecord {
            nonce: handle.nonce,
            digest: digest(&[terms.client, terms.service, terms.request]),
            fence: slot.fence,
            taken_ms: now.mono_ms,
            until_ms: terms.until_ms,
            tended_ms: now.mono_ms,
            asked_ms: terms.asked_ms,
            lock_nonce: slot.lock_nonce,
            lock_fence: slot.lock_fence,
            state: ServiceState::Held as u32,
            slot: handle.slot,
            key: slot.key,
            ordinal: slot.ordinal,
            reported: 0,
        };
        slot.owner = SERVICE;
        self.prolong_slot(handle.slot, terms.until_ms);
        Ok(self.service_view(at))
    }

    /// The service lock with this id, held or ended.
    #[must_use]
    pub fn service_lock(&self, id: u128) -> Option<ServiceLock> {
        Some(self.service_view(self.find(id)?))
    }

    /// The held lock of a service's request.
    #[must_use]
    pub fn service_lock_for(
        &self,
        client: &str,
        service: &str,
        request: &str,
    ) -> Option<ServiceLock> {
        let digest = digest(&[client, service, request]);
        let is_it = |at: &usize| {
            let head = &self.services[*at];
            let [c, s, r, _] = self.notes[*at].read();
            head.state == ServiceState::Held as u32 && [&*c, &s, &r] == [client, service, request]
        };
        let alike = (0..self.services.len()).filter(|&at| self.services[at].digest == digest);
        alike
            .into_iter()
            .find(is_it)
            .map(|at| self.service_view(at))
    }

    /// Records that nodes are about to be requested to keep a held lock until `asked_ms`. `false`
    /// if the lock is no longer held.
    pub fn ask_for_service_lock(&mut self, id: u128, asked_ms: u64) -> bool {
        let held = self.find_held(id);
        if let Some(at) = held {
            let head = &mut self.services[at];
            head.asked_ms = head.asked_ms.max(asked_ms);
        }
        held.is_some()
    }

    /// Records that no node keeps an ended lock any more.
    pub fn settle_service_lock(&mut self, id: u128) {
        let nonce = nonce_words(id);
        for head in self.services.iter_mut() {
            if head.nonce == nonce && head.state != ServiceState::Held as u32 {
                head.asked_ms = 0;
            }
        }
    }

    /// Extends a held lock; never shortens it. `None` if the lock is no longer held.
    pub fn prolong_service_lock(&mut self, id: u128, until_ms: u64) -> Option<ServiceLock> {
        let at = self.find_held(id)?;
        let head = &mut self.services[at];
        head.until_ms = head.until_ms.max(until_ms);
        let (slot, until_ms) = (head.slot, head.until_ms);
        self.prolong_slot(slot, until_ms);
        Some(self.service_view(at))
    }

    /// Ends a held lock and grants its slot to the first waiter.
    pub fn end_service_lock(
        &mut self,
        id: u128,
        state: ServiceState,
        now: Now,
    ) -> Option<ServiceLock> {
        let at = self.find_held(id)?;
        self.close(at, state, now);
        self.free(self.services[at].slot, now);
        Some(self.service_view(at))
    }

    /// Ends a held lock that is also stored on nodes. The worker holds the slot for up to `left_ms`
    /// while it releases the lock on the nodes.
    pub fn reclaim_service_lock(
        &mut self,
        id: u128,
        state: ServiceState,
        (worker, left_ms): (WorkerId, u64),
        now: Now,
    ) -> Option<Grant> {
        let at = self.find_held(id)?;
        self.close(at, state, now);
        let slot = self.services[at].slot;
        let record = &mut self.slots[slot as usize];
        record.owner = worker.0;
        let until = record.lock_deadline_ms.min(now.mono_ms + left_ms);
        record.lock_deadline_ms = until;
        self.move_deadline(slot, until);
        Some(self.granted(slot))
    }

    /// Ends a lock that belongs to another machine according to the nodes. The slot is held
    /// elsewhere for `for_ms`.
    pub fn lose_service_lock(
        &mut self,
        handle: LeaseHandle,
        for_ms: u64,
        now: Now,
    ) -> Option<ServiceLock> {
        let at = self.find_held(handle.nonce())?;
        let until = now.mono_ms + for_ms;
        self.close(at, ServiceState::Lost, now);
        self.leave_elsewhere(handle.slot, until, now);
        Some(self.service_view(at))
    }

    /// Records that the owner has reported its usage; `false` if the owner had reported it before.
    pub fn report_service_lock(&mut self, id: u128) -> bool {
        let at = self.find(id);
        at.is_some_and(|at| std::mem::replace(&mut self.services[at].reported, 1) == 0)
    }

    /// Removes the records of ended locks. Returns those that expired without a release.
    pub fn clean_service_locks(&mut self, now: Now) -> Vec<ServiceLock> {
        self.expire(now);
        let mut expired = vec![];
        for at in 0..self.services.len() {
            match ServiceState::of(self.services[at].state) {
                Some(ServiceState::Expired) => expired.push(self.service_view(at)),
                None | Some(ServiceState::Held) => continue,
                Some(_) => {}
            }
            self.services[at].state = 0;
        }
        expired
    }

    /// The locks of these keys that have not been maintained on the nodes for `every_ms`. Marks
    /// them as maintained now.
    pub fn service_locks_to_tend(
        &mut self,
        of: impl Fn(u32) -> bool,
        every_ms: u64,
        now: Now,
    ) -> Tending {
        self.expire(now);
        let mut tending = Tending::default();
        let mut due = vec![];
        for at in 0..self.services.len() {
            let head = &self.services[at];
            let key = self.keys.get(head.key as usize);
            let is_known = key.is_some_and(|key| !self.is_too_new(key));
            if head.asked_ms == 0 || !is_known || !of(head.key) {
                continue;
            }
            let head = &mut self.services[at];
            let held = head.state == ServiceState::Held as u32;
            if held {
                let next = tending.next_ms.get_or_insert(head.until_ms);
                *next = head.until_ms.min(*next);
            } else if head.asked_ms.saturating_add(SLACK_MS) <= now.mono_ms {
                head.asked_ms = 0;
                continue;
            }
            if now.mono_ms < head.tended_ms.saturating_add(every_ms) {
                continue;
            }
            head.tended_ms = now.mono_ms;
            if held {
                due.push(head.slot);
            } else {
                tending.give_back.push(head.stray());
            }
        }
        let locked = |slot| {
            let grant = self.granted(slot);
            Some((grant, grant.lock?))
        };
        tending.keep = due.into_iter().filter_map(locked).collect();
        tending
    }

    /// Ends the record of a service lock whose slot has become free.
    pub(crate) fn service_slot_freed(&mut self, slot: u32, now: Now) {
        let nonce = self.slots[slot as usize].nonce;
        let held =
            |head: &ServiceRecord| head.state == ServiceState::Held as u32 && head.nonce == nonce;
        if let Some(at) = self.services.iter().position(held) {
            self.close(at, ServiceState::Expired, now);
        }
    }

    /// Ends records whose slot does not belong to them, after a process died.
    pub(crate) fn rebuild_services(&mut self) {
        for head in self.services.iter_mut() {
            let own = self.slots.get(head.slot as usize).is_some_and(|slot| {
                slot.state == slot_state::HELD && slot.nonce == head.nonce && slot.owner == SERVICE
            });
            if head.state == ServiceState::Held as u32 && !own {
                head.state = ServiceState::Released as u32;
            }
        }
    }

    /// Frees slots whose service lock has ended, after a process died between these two writes.
    pub(crate) fn free_ended_service_slots(&mut self) {
        let held = self.services.iter();
        let held = held.filter(|head| head.state == ServiceState::Held as u32);
        let held: HashSet<_> = held.map(|head| head.nonce).collect();
        for slot in self.slots.iter_mut() {
            let is_service = slot.state == slot_state::HELD && slot.owner == SERVICE;
            if is_service && !held.contains(&slot.nonce) {
                slot.state = slot_state::FREE;
            }
        }
    }

    /// Removes the records of ended locks of a key, whose index in the zone will be reused.
    pub(crate) fn forget_service_locks_of(&mut self, key: u32) {
        let ended = |head: &&mut ServiceRecord| head.state != ServiceState::Held as u32;
        for head in self.services.iter_mut().filter(ended) {
            if head.key == key {
                head.state = 0;
                head.asked_ms = 0;
            }
        }
    }

    fn close(&mut self, at: usize, state: ServiceState, now: Now) {
        let head = &mut self.services[at];
        head.state = state as u32;
        // The worker that ends a lock for its owner or an administrator also releases it on the
        // nodes. After any other end, maintenance must release it at once.
        let given_back = matches!(state, ServiceState::Released | ServiceState::Forced);
        head.tended_ms = if given_back { now.mono_ms } else { 0 };
        if state != ServiceState::Expired {
            head.until_ms = now.mono_ms;
        }
    }

    fn prolong_slot(&mut self, slot: u32, until_ms: u64) {
        let record = &mut self.slots[slot as usize];
        if record.lock_deadline_ms != 0 {
            record.lock_deadline_ms = until_ms;
        }
        self.move_deadline(slot, until_ms);
    }

    fn find(&self, id: u128) -> Option<usize> {
        let nonce = nonce_words(id);
        // Always scans all records, so that the time does not depend on the id.
        let mut found = None;
        for (at, head) in self.services.iter().enumerate() {
            if bool::from(head.nonce.ct_eq(&nonce)) && head.state != 0 {
                found = Some(at);
            }
        }
        found
    }

    fn find_held(&self, id: u128) -> Option<usize> {
        let at = self.find(id)?;
        (self.services[at].state == ServiceState::Held as u32).then_some(at)
    }

    /// An unused record, or that of the lock that ended first.
    fn free_record(&self) -> Option<usize> {
        let rank = |head: &ServiceRecord| match ServiceState::of(head.state) {
            None if head.asked_ms == 0 => Some(0),
            Some(ServiceState::Held) => None,
            _ => Some(head.until_ms.max(1)),
        };
        let free = self.services.iter().enumerate();
        let free = free.filter_map(|(at, head)| Some((rank(head)?, at)));
        free.min().map(|(_, at)| at)
    }

    /// The index of a key, or `NONE` if the key is newer than the configuration of the worker that
    /// acts: it may know the index as that of a removed key.
    fn index_for_worker(&self, key: u32) -> u32 {
        let record = self.keys.get(key as usize);
        match record.is_some_and(|record| self.is_too_new(record)) {
            true => NONE,
            false => key,
        }
    }

    fn service_view(&self, at: usize) -> ServiceLock {
        let head = &self.services[at];
        let [client, service, request, context] = self.notes[at].read();
        let slot = self.slots.get(head.slot as usize);
        let held = head.state == ServiceState::Held as u32;
        let pool = self.keys.get(head.key as usize).map_or(0, |key| key.pool);
        ServiceLock {
            handle: LeaseHandle {
                slot: head.slot,
                nonce: head.nonce,
            },
            state: ServiceState::of(head.state).unwrap_or(ServiceState::Released),
            pool: PoolId(pool),
            key: self.index_for_worker(head.key),
            ordinal: head.ordinal,
            fence: head.fence,
            taken_ms: head.taken_ms,
            until_ms: head.until_ms,
            lock: slot.filter(|_| held).and_then(super::lock::Lock::of),
            client,
            service,
            request,
            context,
        }
    }
}

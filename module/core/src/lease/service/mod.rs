//! Locks of services: leases whose holder is no request.
//!
//! Such a lock is taken by a request, and outlives it and its worker: nobody's
//! process owns its slot, it is not renewed, and it ends at its deadline unless its
//! owner prolongs it. A record beside the slot says whose it is and what for; the
//! record stays for a while when the lock has ended, to tell what became of it.

mod record;
mod tending;
mod view;

pub(crate) use record::{Head, Note, SERVICE};
pub use record::{MAX_CONTEXT, MAX_NAME, MAX_REQUEST, ServiceState};
pub use tending::{Stray, Tending};
pub use view::{HeldBy, Holding, ServiceLock, Waiting};

use std::hash::{DefaultHasher, Hash, Hasher};

use subtle::ConstantTimeEq;
use thiserror::Error;

use super::acquire::Grant;
use super::record::{nonce_words, slot_state};
use super::release::LeaseHandle;
use super::time::Now;
use super::worker::WorkerId;
use super::zone::{PoolId, Zone};

/// For how much longer than they were asked to nodes may keep a lock: they count from
/// when they hear of it.
const SLACK_MS: u64 = 60_000;

/// Whose a lock is, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms<'a> {
    /// The client, by its token.
    pub client: &'a str,
    /// The service, by its own word.
    pub service: &'a str,
    /// Its name for the request: asked again, it gets the same lock.
    pub request: &'a str,
    /// What else it has said, for listings.
    pub context: &'a str,
    /// When the lock ends, on the monotonic clock.
    pub until_ms: u64,
    /// Until when nodes may keep it; 0 if they do not know it.
    pub asked_ms: u64,
}

/// Why a lease could not become a service's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EntrustError {
    /// The lease is lost.
    #[error("the lease is lost")]
    Lost,
    /// The key has been put out since it was leased.
    #[error("the key is cooling down")]
    Cooling,
    /// All records are in use.
    #[error("there is no room for another lock")]
    Full,
    /// The request has a lock already.
    #[error("the request has a lock")]
    Known(Box<ServiceLock>),
}

/// A number that stands for a client among those who hold slots; never 0.
#[must_use]
pub fn holder_of(client: &str) -> u64 {
    digest(&[client]).max(1)
}

fn digest(texts: &[&str]) -> u64 {
    // Fixed keys: it must be the same in every process.
    let mut hasher = DefaultHasher::new();
    texts.hash(&mut hasher);
    hasher.finish()
}

impl Zone<'_> {
    /// Makes a lease, whose slot is locked if it has to be, a service's.
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
            return Err(EntrustError::Cooling);
        }
        let at = self.free_record().ok_or(EntrustError::Full)?;
        self.notes[at].write([terms.client, terms.service, terms.request, terms.context]);
        let slot = &mut self.slots[handle.slot as usize];
        self.services[at] = Head {
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
            told: 0,
        };
        slot.owner = SERVICE;
        self.prolong_slot(handle.slot, terms.until_ms);
        Ok(self.service_view(at))
    }

    /// The lock of this name, whatever has become of it.
    #[must_use]
    pub fn service_lock(&self, id: u128) -> Option<ServiceLock> {
        Some(self.service_view(self.find(id)?))
    }

    /// The lock that a request of a service holds.
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

    /// Notes that nodes are going to be asked to keep a held lock until then, whatever
    /// they answer. `false` if it is held no more.
    pub fn ask_for_service_lock(&mut self, id: u128, asked_ms: u64) -> bool {
        let held = self.find_held(id);
        if let Some(at) = held {
            let head = &mut self.services[at];
            head.asked_ms = head.asked_ms.max(asked_ms);
        }
        held.is_some()
    }

    /// All nodes have let go of a lock that has ended.
    pub fn settle_service_lock(&mut self, id: u128) {
        let nonce = nonce_words(id);
        for head in self.services.iter_mut() {
            if head.nonce == nonce && head.state != ServiceState::Held as u32 {
                head.asked_ms = 0;
            }
        }
    }

    /// Moves the end of a held lock, never to before.
    pub fn prolong_service_lock(&mut self, id: u128, until_ms: u64) -> Option<ServiceLock> {
        let at = self.find_held(id)?;
        let head = &mut self.services[at];
        head.until_ms = head.until_ms.max(until_ms);
        let (slot, until_ms) = (head.slot, head.until_ms);
        self.prolong_slot(slot, until_ms);
        Some(self.service_view(at))
    }

    /// Ends a held lock: its slot goes to the first waiter.
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

    /// Ends a held lock that has one on the nodes: the slot is the worker's, to give
    /// that back, for `left_ms` at the most.
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

    /// The nodes say that a lock is another's: its slot is held elsewhere, and nobody
    /// here tries it for `for_ms`.
    pub fn lose_service_lock(
        &mut self,
        handle: LeaseHandle,
        for_ms: u64,
        now: Now,
    ) -> Option<ServiceLock> {
        let at = self.find_held(handle.nonce())?;
        let until = now.mono_ms + for_ms;
        self.close(at, ServiceState::Lost, now);
        self.leave_elsewhere(handle.slot, until);
        Some(self.service_view(at))
    }

    /// Notes that the owner of a lock has said what was done with it: `false` if it has before.
    pub fn tell_service_lock(&mut self, id: u128) -> bool {
        let at = self.find(id);
        at.is_some_and(|at| std::mem::replace(&mut self.services[at].told, 1) == 0)
    }

    /// Forgets the locks that have ended; those that nobody gave back.
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

    /// What there is to do on the nodes for the locks of these keys that nobody has seen
    /// to for `every_ms`; from now on somebody has.
    pub fn service_locks_to_tend(
        &mut self,
        of: impl Fn(u32) -> bool,
        every_ms: u64,
        now: Now,
    ) -> Tending {
        self.expire(now);
        let mut tending = Tending::default();
        let mut due = vec![];
        let known = self.services.iter_mut();
        for head in known.filter(|head| head.asked_ms != 0 && of(head.key)) {
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

    /// How many service locks are held.
    #[must_use]
    pub fn service_locks(&self) -> usize {
        let held = |head: &&Head| head.state == ServiceState::Held as u32;
        self.services.iter().filter(held).count()
    }

    /// A slot that a service held has become free.
    pub(crate) fn service_slot_freed(&mut self, slot: u32, now: Now) {
        let nonce = self.slots[slot as usize].nonce;
        let held = |head: &Head| head.state == ServiceState::Held as u32 && head.nonce == nonce;
        if let Some(at) = self.services.iter().position(held) {
            self.close(at, ServiceState::Expired, now);
        }
    }

    /// Ends the records whose slot is not theirs: a process died in between.
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

    fn close(&mut self, at: usize, state: ServiceState, now: Now) {
        let head = &mut self.services[at];
        head.state = state as u32;
        // Nobody gives it back on the nodes yet, unless its owner or an administrator
        // has ended it.
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
        // Looks at all of them, however early it is found.
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

    /// A record that no held lock has; that of the lock that ended first, if all
    /// have been used.
    fn free_record(&self) -> Option<usize> {
        let rank = |head: &Head| match ServiceState::of(head.state) {
            None if head.asked_ms == 0 => Some(0),
            Some(ServiceState::Held) => None,
            _ => Some(head.until_ms.max(1)),
        };
        let free = self.services.iter().enumerate();
        let free = free.filter_map(|(at, head)| Some((rank(head)?, at)));
        free.min().map(|(_, at)| at)
    }

    fn service_view(&self, at: usize) -> ServiceLock {
        let head = &self.services[at];
        let [client, service, request, context] = self.notes[at].read();
        let slot = self.slots.get(head.slot as usize);
        let held = head.state == ServiceState::Held as u32;
        ServiceLock {
            handle: LeaseHandle {
                slot: head.slot,
                nonce: head.nonce,
            },
            state: ServiceState::of(head.state).unwrap_or(ServiceState::Released),
            pool: PoolId(self.keys.get(head.key as usize).map_or(0, |key| key.pool)),
            key: head.key,
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

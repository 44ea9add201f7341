//! The queue of requests that wait for a slot: ordered by priority, then by arrival, across all
//! workers.

use thiserror::Error;

use super::acquire::{Grant, Grantee};
use super::avoid::Avoid;
use super::record::{NONE, nonce_words, presence, slot_state, waiter_state};
use super::time::Now;
use super::worker::WorkerId;
use super::zone::{PoolId, Zone, turn};

/// A request for a lease.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// The key pool.
    pub pool: PoolId,
    /// The requesting worker.
    pub worker: WorkerId,
    /// Generation of the worker's configuration.
    pub generation: u64,
    /// Random number that becomes the lease's nonce.
    pub nonce: u128,
    /// Duration of the lease without renewal, in milliseconds, in the worker's configuration.
    pub ttl_ms: u64,
    /// Requests with a higher priority are served first.
    pub priority: i32,
    /// The worker's identifier of the request.
    pub tag: u64,
    /// Arrival number of an earlier wait, to keep the position within the priority.
    pub arrival: Option<u64>,
    /// Estimated tokens of the request; 0 if unknown.
    pub tokens: u32,
    /// Keys that the request has tried.
    pub avoid: Avoid,
    /// Number of the client for listings, see [`super::holder_of`].
    pub holder: u32,
}

/// A request's entry in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTicket {
    waiter: u32,
    nonce: [u64; 2],
}

/// The pool's queue or the zone has no room for another waiter.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the queue is full")]
pub struct QueueFull;

/// Result of leaving the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The request was waiting.
    Left,
    /// The request had just been served; the caller now holds this lease.
    Served(Grant),
    /// There was no such entry.
    Gone,
}

/// A waiter that has been granted a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The worker's identifier of the request.
    pub tag: u64,
    /// Its lease.
    pub grant: Grant,
    /// Arrival number.
    pub arrival: u64,
}

impl Want {
    /// The TTL as slots and waiters store it.
    pub(crate) fn short_ttl_ms(&self) -> u32 {
        u32::try_from(self.ttl_ms).unwrap_or(u32::MAX)
    }
}

impl Zone<'_> {
    /// Adds a request to the queue. Call it when [`Zone::acquire`] granted nothing, under the
    /// same mutex.
    pub fn enqueue(&mut self, want: &Want) -> Result<WaitTicket, QueueFull> {
        let pool = self.pool_for(want).ok_or(QueueFull)?;
        let record = &self.pools[pool];
        let waiter = self.header.free_waiter;
        // A request that has waited before keeps its right to wait, even when the queue is full
        // for new ones.
        let most = match want.arrival {
            None => record.queue.min(record.waiting_room),
            Some(_) => record.waiting_room,
        };
        if waiter == NONE || record.waiting >= most {
            return Err(QueueFull);
        }
        let record = &mut self.waiters[waiter as usize];
        self.header.free_waiter = record.next;
        record.nonce = nonce_words(want.nonce);
        record.arrival = want.arrival.unwrap_or(self.header.arrivals);
        record.generation = want.generation;
        record.tag = want.tag;
        record.ttl_ms = want.short_ttl_ms();
        record.pool = want.pool.0;
        record.owner = want.worker.0;
        record.priority = want.priority;
        record.tokens = want.tokens;
        record.avoid = want.avoid;
        record.holder = want.holder;
        record.slot = NONE;
        record.next = NONE;
        record.state = waiter_state::WAITING;
        self.header.arrivals += 1;
        self.waiting_in(pool).push(waiter);
        Ok(WaitTicket {
            waiter,
            nonce: nonce_words(want.nonce),
        })
    }

    /// Removes a request from the queue.
    pub fn cancel(&mut self, ticket: WaitTicket) -> Cancelled {
        let Some(record) = self.waiters.get(ticket.waiter as usize) else {
            return Cancelled::Gone;
        };
        if record.nonce != ticket.nonce {
            return Cancelled::Gone;
        }
        let (slot, owner, pool) = (record.slot, record.owner as usize, record.pool as usize);
        match record.state {
            waiter_state::WAITING => {
                self.waiting_in(pool).remove(ticket.waiter);
                self.forget(ticket.waiter);
                Cancelled::Left
            }
            waiter_state::SERVED => {
                let current = self.is_current(ticket.waiter);
                self.unpost(owner, ticket.waiter);
                self.forget(ticket.waiter);
                if current {
                    Cancelled::Served(self.granted(slot))
                } else {
                    Cancelled::Left
                }
            }
            _ => Cancelled::Gone,
        }
    }

    /// Returns the worker's next served waiter, if there is one.
    ///
    /// A waiter whose lease expired before it was collected returns to its old position in the
    /// queue.
    pub fn collect(&mut self, worker: WorkerId, now: Now) -> Option<Served> {
        self.expire(now);
        loop {
            let mailbox = &mut self.workers.get_mut(worker.0 as usize)?.mailbox;
            let waiter = *mailbox;
            let record = *self.waiters.get(waiter as usize)?;
            *mailbox = record.next;
            if self.is_current(waiter) {
                self.forget(waiter);
                return Some(Served {
                    tag: record.tag,
                    grant: self.granted(record.slot),
                    arrival: record.arrival,
                });
            }
            self.wait_again(waiter, now);
        }
    }

    /// Whether the slot granted to a waiter is still held under that lease.
    fn is_current(&self, waiter: u32) -> bool {
        let waiter = &self.waiters[waiter as usize];
        self.slots.get(waiter.slot as usize).is_some_and(|slot| {
            slot.state == slot_state::HELD
                && slot.nonce == waiter.nonce
                && slot.owner == waiter.owner
        })
    }

    fn wait_again(&mut self, waiter: u32, now: Now) {
        let pool = self.waiters[waiter as usize].pool as usize;
        self.waiters[waiter as usize].state = waiter_state::WAITING;
        self.waiters[waiter as usize].slot = NONE;
        if !self.waiting_in(pool).push(waiter) {
            self.forget(waiter);
            return;
        }
        for key in 0..self.keys.len() {
            if self.keys[key].pool as usize == pool {
                self.offer(key, now);
            }
        }
    }

    /// Grants the free slots of a key to waiters.
    pub(crate) fn offer(&mut self, key: usize, now: Now) {
        while Self::has_room(&self.keys[key])
            && self.keys[key].state != presence::UNUSED
            && let Some(waiter) = self.next_for(key)
        {
            let next = self.waiters[waiter as usize];
            if !self.make_ready(key, next.generation, now) {
                return;
            }
            let pool = self.keys[key].pool as usize;
            self.waiting_in(pool).remove(waiter);
            let to = Grantee {
                owner: next.owner,
                nonce: next.nonce,
                ttl_ms: next.ttl_ms,
                tokens: next.tokens,
                holder: next.holder,
            };
            let grant = self.grant(key, to, now);
            self.serve(waiter, grant.handle.slot);
        }
    }

    /// Notifies a waiter's worker that a slot is held for it.
    pub(crate) fn serve(&mut self, waiter: u32, slot: u32) {
        let record = &mut self.waiters[waiter as usize];
        record.slot = slot;
        record.state = waiter_state::SERVED;
        let owner = record.owner as usize;
        self.post(owner, waiter);
    }

    /// The first waiter that may get the key.
    pub(crate) fn next_for(&self, at: usize) -> Option<u32> {
        let key = &self.keys[at];
        let pool = &self.pools[key.pool as usize];
        let from = pool.waiting_at as usize;
        let waiting = &self.waiting[from..from + pool.waiting as usize];
        let first = *waiting.first()?;
        let may = |&w: &u32| {
            let waiter = &self.waiters[w as usize];
            Self::knows(key, waiter.generation) && !waiter.avoid.forbids(at as u32)
        };
        if may(&first) {
            return Some(first);
        }
        // Only while requests of older and newer workers wait together, or when the first waiter
        // must not get this key again.
        waiting
            .iter()
            .copied()
            .filter(may)
            .min_by_key(|&w| turn(&self.waiters[w as usize]))
    }

    pub(crate) fn post(&mut self, owner: usize, waiter: u32) {
        self.waiters[waiter as usize].next = self.workers[owner].mailbox;
        self.workers[owner].mailbox = waiter;
        self.wakes.insert(WorkerId(owner as u32));
    }

    fn unpost(&mut self, owner: usize, waiter: u32) {
        let next = self.waiters[waiter as usize].next;
        let mut at = self.workers[owner].mailbox;
        if at == waiter {
            self.workers[owner].mailbox = next;
            return;
        }
        while at != NONE {
            let after = self.waiters[at as usize].next;
            if after == waiter {
                self.waiters[at as usize].next = next;
                return;
            }
            at = after;
        }
    }

    pub(crate) fn forget(&mut self, waiter: u32) {
        let record = &mut self.waiters[waiter as usize];
        *record = bytemuck::Zeroable::zeroed();
        record.heap_at = NONE;
        record.next = self.header.free_waiter;
        self.header.free_waiter = waiter;
    }
}

//! State shared by the workers of a machine: locks that are being handed over, and service locks.

use std::cell::RefCell;
use std::rc::Rc;

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::Fence;
use redis_nodes::{Kept, Operation};

use crate::checker::Checker;
use crate::client::{Client, Held};
use crate::message::{Output, Timer};
use crate::plan::{END, NODE_TIMEOUT, Sabotage, TIMING, TTL};

/// How much longer nodes may keep a lock because commands arrive late.
const SLACK: u64 = 2 * TTL;

pub struct Machine {
    /// The number by which the checker knows the machine's services.
    name: usize,
    /// Workers that wait for a hand-over.
    pub waiting: Vec<usize>,
    /// Locks on their way to a worker.
    mail: Vec<(usize, Held)>,
    services: Vec<Service>,
    /// Retained locks, with the worker that releases them, and until when.
    pub retained: Vec<(usize, Held, u64)>,
    /// The fence of the last lock of each slot.
    pub fences: Vec<u64>,
}

/// A service lock in the zone.
struct Service {
    handle: LeaseHandle,
    slot: usize,
    lock: Lock,
    fence: u64,
    until: u64,
    /// Until when nodes may keep the lock; 0 if they do not have it.
    asked: u64,
    tended: u64,
    held: bool,
}

/// The purpose of an operation: a service lock by its index, and its requested end; `None` if no
/// service requested it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    service: usize,
    until: Option<u64>,
}

impl Machine {
    pub fn new(name: usize, slots: usize) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            name: 1_000 + name,
            waiting: vec![],
            mail: vec![],
            services: vec![],
            retained: vec![],
            fences: vec![0; slots],
        }))
    }

    /// Whether a worker waits for a lock, or a lock is on its way to it.
    pub fn expects(&self, worker: usize) -> bool {
        self.waiting.contains(&worker) || self.mail.iter().any(|&(to, _)| to == worker)
    }

    /// No node has this service lock any more.
    pub fn settled(&mut self, handle: LeaseHandle) {
        let mut services = self.services.iter_mut();
        if let Some(service) = services.find(|service| service.handle == handle) {
            service.asked = 0;
        }
    }
}

impl Client {
    /// Waits for a hand-over.
    pub(super) fn wait(&mut self) {
        self.machine.borrow_mut().waiting.push(self.id);
        let patience = self.rng.within(1, TTL);
        self.later(patience, Timer::WaitedOut);
    }

    /// Hands a lock to the first waiting worker, if any.
    pub(super) fn hand_over(&mut self, real: u64, held: &Held, checker: &mut Checker) -> bool {
        let heard = self.group.is_heard(&held.lock) || self.sabotage == Some(Sabotage::Votes);
        let lasts = held.lock.deadline_ms > self.clock.at(real) + TTL / 2;
        let handed = match self.sabotage {
            Some(Sabotage::Block) => held.handed + self.rng.within(1, 3 * Fence::BLOCK),
            _ => held.handed + self.rng.within(1, Fence::BLOCK / 3),
        };
        let fits = handed < Fence::BLOCK || self.sabotage == Some(Sabotage::Block);
        if !heard || !lasts || !fits {
            return false;
        }
        let mut machine = self.machine.borrow_mut();
        if machine.waiting.is_empty() {
            return false;
        }
        let next = machine.waiting.remove(0);
        let given = Held {
            handed,
            may_be_extended: true,
            ..*held
        };
        checker.passed(
            (self.id, held.fence()),
            (next, given.fence()),
            self.field(held.slot),
        );
        checker.counts.handed_over += 1;
        machine.mail.push((next, given));
        self.outputs.push(Output::Tell(next, Timer::Mail));
        true
    }

    /// Retains a lock for the next lease of the machine. The checker counts its time as that of
    /// the worker that retains it.
    pub(super) fn retain(&mut self, real: u64, held: &Held, checker: &mut Checker) -> bool {
        if !self.plan.retains || real >= END {
            return false;
        }
        let now = self.clock.at(real);
        let for_ms = self.rng.within(1, TTL / 2);
        let until = (now + for_ms).min(held.lock.deadline_ms.saturating_sub(TTL / 4));
        let fits = held.handed + 1 < Fence::BLOCK;
        let heard = self.group.is_heard(&held.lock);
        if !heard || !fits || until <= now {
            return false;
        }
        checker.counts.retained += 1;
        let mut machine = self.machine.borrow_mut();
        machine.retained.push((self.id, *held, until));
        drop(machine);
        self.later(until - now, Timer::Reclaim);
        true
    }

    /// Takes a retained lock of the machine, if there is one.
    pub(super) fn reuse(&mut self, real: u64, checker: &mut Checker) -> bool {
        let now = self.clock.at(real);
        let late = self.sabotage == Some(Sabotage::ReuseLate);
        let mut machine = self.machine.borrow_mut();
        let fits = |&(_, _, until): &(usize, Held, u64)| late || now < until;
        let Some(at) = machine.retained.iter().position(fits) else {
            return false;
        };
        let (from, held, _) = match self.sabotage {
            // The first worker still releases it.
            Some(Sabotage::ReuseTwice) => machine.retained[at],
            _ => machine.retained.remove(at),
        };
        drop(machine);
        let same = u64::from(self.sabotage != Some(Sabotage::ReuseFence));
        self.serial += 1;
        let taken = Held {
            serial: self.serial,
            handed: held.handed + same,
            may_be_extended: true,
            ..held
        };
        let slot = self.field(held.slot);
        checker.reused(slot, taken.fence());
        checker.passed((from, held.fence()), (self.id, taken.fence()), slot);
        if late && now >= taken.lock.deadline_ms {
            checker.used(real, slot, taken.fence());
        }
        self.lease = Some(taken);
        self.hold(taken.serial);
        true
    }

    /// Releases the locks that this worker has retained for long enough.
    pub(super) fn reclaim(&mut self, real: u64, checker: &mut Checker) {
        let (now, id) = (self.clock.at(real), self.id);
        let mut machine = self.machine.borrow_mut();
        let due = |&(worker, _, until): &(usize, Held, u64)| worker == id && until <= now;
        let (due, kept): (Vec<_>, Vec<_>) = machine.retained.iter().partition(|one| due(one));
        machine.retained = kept;
        drop(machine);
        for (_, held, _) in due {
            checker.ended(id, self.field(held.slot), held.fence());
            self.give_back(real, held.slot, held.lock, (held.handle, true));
        }
    }

    /// Takes handed-over locks.
    pub(super) fn collect(&mut self, real: u64, checker: &mut Checker) {
        let mut machine = self.machine.borrow_mut();
        let Some(at) = machine.mail.iter().position(|&(to, _)| to == self.id) else {
            return;
        };
        let (_, held) = machine.mail.remove(at);
        drop(machine);
        self.serial += 1;
        let serial = self.serial;
        let valid = held.lock.deadline_ms > self.clock.at(real);
        self.lease = Some(Held { serial, ..held });
        if !valid || real >= END {
            return self.end_lease(real, valid, checker);
        }
        self.hold(serial);
    }

    /// Turns a lease into a service lock, which belongs to the machine.
    pub(super) fn entrust(&mut self, real: u64, checker: &mut Checker) {
        let Some(held) = self.lease.take() else {
            return;
        };
        let mut machine = self.machine.borrow_mut();
        let fence = held.fence();
        let (from, to) = ((self.id, fence), (machine.name, fence));
        checker.passed(from, to, self.field(held.slot));
        checker.counts.entrusted += 1;
        let now = self.clock.at(real);
        machine.services.push(Service {
            handle: held.handle,
            slot: held.slot,
            fence,
            until: held.lock.deadline_ms,
            asked: now + TTL,
            tended: now,
            held: true,
            lock: held.lock,
        });
        let at = machine.services.len() - 1;
        let service = &machine.services[at];
        let (until, is_held) = (service.until, service.is_held(now));
        drop(machine);
        // Renew the lock, on the connections that carried its proposals.
        if is_held {
            self.keep(real, at, Some(until));
        }
        if real < END {
            self.ask_later();
        }
    }

    /// Whether the machine has service locks to maintain.
    pub(super) fn owes(&self, now: u64) -> bool {
        let machine = self.machine.borrow();
        let mut services = machine.services.iter();
        services.any(|service| service.is_held(now) || service.is_owed(now))
    }

    /// A service extends or releases one of the machine's locks.
    pub(super) fn serve(&mut self, real: u64, checker: &mut Checker) {
        let now = self.clock.at(real);
        let again = self.rng.within(1, TTL / 4);
        let held: Vec<_> = {
            let machine = self.machine.borrow();
            // At the end, some locks are left to expire.
            let is_left = |service: &Service| real >= END && service.lock.nonce() % 4 < 2;
            let held = |service: &Service| service.is_held(now) && !is_left(service);
            let held = |&at: &usize| held(&machine.services[at]);
            (0..machine.services.len()).filter(held).collect()
        };
        if real < END || !held.is_empty() {
            self.later(again, Timer::Serve);
        }
        if held.is_empty() {
            return;
        }
        let at = *self.rng.pick(&held);
        if real >= END || self.rng.percent(20) {
            let mut machine = self.machine.borrow_mut();
            let name = machine.name;
            let service = &mut machine.services[at];
            service.held = false;
            service.tended = now;
            checker.ended(name, self.field(service.slot), service.fence);
            drop(machine);
            return self.settle_service(real, at);
        }
        // Several concurrent calls.
        for _ in 0..self.rng.within(1, 2) {
            let longest = TTL - TIMING.drift.of(TTL) - 2;
            let for_ms = self.rng.within(TTL / 8, longest);
            let until = (now + for_ms).max(self.machine.borrow().services[at].until);
            self.keep(real, at, Some(until));
        }
    }

    /// Maintains the machine's locks on the nodes.
    pub(super) fn tend(&mut self, real: u64, checker: &mut Checker) {
        let now = self.clock.at(real);
        let mut due = vec![];
        let mut goes_on = real < END;
        for (at, service) in self.machine.borrow_mut().services.iter_mut().enumerate() {
            if !service.is_held(now) && !service.is_owed(now) {
                continue;
            }
            goes_on = true;
            if service.held && !service.is_held(now) {
                service.held = false;
                service.tended = 0;
            }
            if service.tended + TTL / 3 <= now {
                service.tended = now;
                due.push((at, service.held));
            }
        }
        for (at, held) in due {
            if held {
                self.keep(real, at, None);
                continue;
            }
            checker.counts.given_back += 1;
            if self.plan.is_calm() {
                let service = &self.machine.borrow().services[at];
                let from = real + 2 * NODE_TIMEOUT;
                checker.gone(self.field(service.slot), &service.lock, from);
            }
            if self.sabotage != Some(Sabotage::Tend) {
                self.settle_service(real, at);
            }
        }
        if goes_on {
            self.later(TTL / 6, Timer::Tend);
        }
    }

    /// Releases an expired service lock on the nodes.
    fn settle_service(&mut self, real: u64, at: usize) {
        let machine = self.machine.borrow();
        let service = &machine.services[at];
        let (slot, lock, handle) = (service.slot, service.lock, service.handle);
        drop(machine);
        self.give_back(real, slot, lock, (handle, true));
    }

    /// Renews a service lock on the nodes, up to the given time or its end.
    fn keep(&mut self, real: u64, at: usize, until: Option<u64>) {
        let now = self.clock.at(real);
        let mut machine = self.machine.borrow_mut();
        let service = &mut machine.services[at];
        let valid = until.unwrap_or(service.until) - now;
        service.asked = service.asked.max(now + self.group.ttl_for(valid));
        let (slot, lock) = (service.slot, service.lock);
        drop(machine);
        let call = Call { service: at, until };
        let operation = self.operations.insert(call);
        self.latest.insert(lock.nonce(), operation);
        let lock = (&self.slots[slot].slot, &lock);
        let done = &mut self.done;
        self.group
            .keep_for(&self.names, valid, lock, operation, now, done);
    }

    /// Handles the result of an operation.
    pub(super) fn concluded(
        &mut self,
        real: u64,
        mut operation: Operation,
        kept: Kept,
        checker: &mut Checker,
    ) {
        if self.sabotage == Some(Sabotage::Operation)
            && let Some(call) = self.operations.get(operation)
        {
            let nonce = self.machine.borrow().services[call.service].lock.nonce();
            operation = self.latest[&nonce];
        }
        let Some(call) = self.operations.remove(operation) else {
            return;
        };
        let now = self.clock.at(real);
        let mut machine = self.machine.borrow_mut();
        let name = machine.name;
        let service = &mut machine.services[call.service];
        if !service.is_held(now) {
            return;
        }
        let slot = self.field(service.slot);
        match (kept, call.until) {
            (Kept::Lost, _) => {
                service.held = false;
                service.tended = 0;
                checker.ended(name, slot, service.fence);
            }
            (Kept::Until(deadline_ms), Some(until)) => {
                if deadline_ms < until {
                    let what = format!("{slot} is kept until {deadline_ms}, not {until}");
                    return checker.stuck(what);
                }
                service.until = service.until.max(until);
                checker.counts.prolonged += 1;
                let until = self.clock.real(service.until);
                checker.extended(real, name, slot, service.fence, until);
            }
            (Kept::Refused, Some(_)) => checker.counts.refused += 1,
            (Kept::Until(_) | Kept::Refused, None) => {}
        }
    }
}

impl Service {
    fn is_held(&self, now: u64) -> bool {
        self.held && now < self.until
    }

    /// Whether nodes may still have the lock.
    fn is_owed(&self, now: u64) -> bool {
        self.asked > 0 && self.asked + SLACK > now
    }
}

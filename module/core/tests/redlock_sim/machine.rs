//! State shared by the workers of a machine: locks that are handed over, and service locks.

use std::cell::RefCell;
use std::rc::Rc;

use openai_core::redlock::{Fence, Lease, Operation, Renewal, RenewalAction, RenewalEvent, Timing};

use crate::checker::Checker;
use crate::client::{Client, Held};
use crate::message::{Output, Timer, Topic};
use crate::plan::{END, NODE_TIMEOUT, Sabotage, TIMING, TTL};

/// How much longer nodes may keep locks because of late commands.
const SLACK: u64 = 2 * TTL;

pub struct Machine {
    /// Number of its services in the checker.
    name: usize,
    /// Workers that wait for a hand-over.
    pub waiting: Vec<usize>,
    /// Locks under way to a worker.
    mail: Vec<(usize, Held)>,
    pub services: Vec<Service>,
}

/// A service lock in the zone.
pub struct Service {
    lease: Lease,
    fence: u64,
    until: u64,
    /// Until when nodes may keep it; 0 when they do not have it.
    pub asked: u64,
    tended: u64,
    held: bool,
}

/// Purpose of an operation: the lock's index and its new end; `None` without a caller.
pub struct Call {
    service: usize,
    until: Option<u64>,
}

impl Machine {
    pub fn new(name: usize) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            name: 1_000 + name,
            waiting: vec![],
            mail: vec![],
            services: vec![],
        }))
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
        let heard = self
            .attempts
            .get(&held.serial)
            .is_none_or(|attempt| attempt.is_heard())
            || self.sabotage == Some(Sabotage::Votes);
        let lasts = held.lease.is_valid(self.clock.at(real) + TTL / 2);
        let handed = held.handed + self.rng.within(1, Fence::BLOCK / 3);
        if !heard || !lasts || handed >= Fence::BLOCK {
            return false;
        }
        let mut machine = self.machine.borrow_mut();
        if machine.waiting.is_empty() {
            return false;
        }
        let next = machine.waiting.remove(0);
        let given = Held {
            handed,
            retold: true,
            ..held.clone()
        };
        let (from, to) = ((self.id, held.fence()), (next, given.fence()));
        checker.passed(from, to, held.lease.slot.field());
        checker.counts.handed_over += 1;
        machine.mail.push((next, given));
        drop(machine);
        self.outputs.push(Output::Tell(next, Timer::Mail));
        true
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
        let valid = held.lease.is_valid(self.clock.at(real));
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
        checker.passed(
            (self.id, fence),
            (machine.name, fence),
            held.lease.slot.field(),
        );
        checker.counts.entrusted += 1;
        let now = self.clock.at(real);
        machine.services.push(Service {
            fence,
            until: held.lease.deadline_ms,
            asked: now + TTL,
            tended: now,
            held: true,
            lease: held.lease,
        });
        let at = machine.services.len() - 1;
        let until = machine.services[at].until;
        drop(machine);
        // After earlier proposals on the same connections.
        if self.holds_service(real, at) {
            self.keep(real, at, Some(until), checker);
        }
        if real < END {
            self.ask_later();
        }
    }

    fn holds_service(&self, real: u64, at: usize) -> bool {
        let now = self.clock.at(real);
        self.machine.borrow().services[at].is_held(now)
    }

    /// A service extends or releases one of the machine's locks.
    pub(super) fn serve(&mut self, real: u64, checker: &mut Checker) {
        let now = self.clock.at(real);
        let again = self.rng.within(1, TTL / 4);
        let held: Vec<_> = {
            let machine = self.machine.borrow();
            // At the end some are left to expire.
            let is_left = |service: &Service| real >= END && service.lease.nonce.0 % 4 < 2;
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
            checker.ended(name, service.lease.slot.field(), service.fence);
            drop(machine);
            return self.settle(at);
        }
        // Several concurrent calls.
        for _ in 0..self.rng.within(1, 2) {
            let longest = TTL - TIMING.drift.of(TTL) - 2;
            let for_ms = self.rng.within(TTL / 8, longest);
            let until = (now + for_ms).max(self.machine.borrow().services[at].until);
            self.keep(real, at, Some(until), checker);
        }
    }

    /// Maintains the machine's locks on the nodes.
    pub(super) fn tend(&mut self, real: u64, checker: &mut Checker) {
        let now = self.clock.at(real);
        let mut due = vec![];
        let mut goes_on = real < END;
        for (at, service) in self.machine.borrow_mut().services.iter_mut().enumerate() {
            let owed = service.asked > 0 && service.asked + SLACK > now;
            if !service.is_held(now) && !owed {
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
                self.keep(real, at, None, checker);
            } else {
                checker.counts.given_back += 1;
                if self.plan.is_calm() {
                    let lease = &self.machine.borrow().services[at].lease;
                    checker.gone(lease, real + 2 * NODE_TIMEOUT);
                }
                if self.sabotage != Some(Sabotage::Tend) {
                    self.settle(at);
                }
            }
        }
        if goes_on {
            self.later(TTL / 6, Timer::Tend);
        }
    }

    /// Releases an ended lock on the nodes.
    fn settle(&mut self, at: usize) {
        let lease = self.machine.borrow().services[at].lease.clone();
        self.serial += 1;
        self.give_back(Topic::Settle(self.serial, at), &lease, true);
    }

    /// Extends a lock on the nodes to that time, or to its end.
    fn keep(&mut self, real: u64, at: usize, until: Option<u64>, checker: &mut Checker) {
        let now = self.clock.at(real);
        let mut machine = self.machine.borrow_mut();
        let service = &mut machine.services[at];
        let valid = until.unwrap_or(service.until) - now;
        let timing = Timing {
            ttl_ms: TIMING.drift.ttl_for(valid),
            ..TIMING
        };
        service.asked = service.asked.max(now + timing.ttl_ms);
        let lease = Lease {
            deadline_ms: u64::MAX,
            ..service.lease.clone()
        };
        drop(machine);
        let (renewal, actions) = Renewal::new(
            self.quorum,
            timing,
            self.quorum.all(),
            std::slice::from_ref(&lease),
            now,
        );
        let call = Call { service: at, until };
        let operation = self.operations.begin(call, now + 3 * NODE_TIMEOUT);
        self.latest.insert(lease.nonce.0, operation);
        self.keeps.insert(operation, renewal);
        self.later(NODE_TIMEOUT, Timer::KeepTimeout(operation));
        self.keep_actions(real, operation, actions, checker);
    }

    pub(super) fn keep_event(
        &mut self,
        real: u64,
        operation: Operation,
        event: RenewalEvent<'_>,
        checker: &mut Checker,
    ) {
        let now = self.clock.at(real);
        if let Some(renewal) = self.keeps.get_mut(&operation) {
            let actions = renewal.step(now, event);
            self.keep_actions(real, operation, actions, checker);
        }
    }

    fn keep_actions(
        &mut self,
        real: u64,
        operation: Operation,
        actions: Vec<RenewalAction>,
        checker: &mut Checker,
    ) {
        for action in actions {
            if let RenewalAction::Send { to, command } = &action {
                self.send(*to, Topic::Keep(operation), command);
                continue;
            }
            let mut concluded = operation;
            if self.sabotage == Some(Sabotage::Operation)
                && let Some(call) = self.operations.get(operation)
            {
                let nonce = self.machine.borrow().services[call.service].lease.nonce;
                concluded = self.latest[&nonce.0];
            }
            if let Some(call) = self.operations.conclude(concluded) {
                self.answer(real, &call, &action, checker);
            }
        }
    }

    fn answer(&mut self, real: u64, call: &Call, action: &RenewalAction, checker: &mut Checker) {
        let now = self.clock.at(real);
        let mut machine = self.machine.borrow_mut();
        let name = machine.name;
        let service = &mut machine.services[call.service];
        let slot = service.lease.slot.field().to_owned();
        if !service.is_held(now) {
            return;
        }
        match (action, call.until) {
            (RenewalAction::Lost { .. }, _) => {
                service.held = false;
                service.tended = 0;
                checker.ended(name, &slot, service.fence);
            }
            (RenewalAction::Extended { deadline_ms, .. }, Some(until)) => {
                if *deadline_ms < until {
                    let what = format!("{slot} is kept until {deadline_ms}, not {until}");
                    return checker.stuck(what);
                }
                service.until = service.until.max(until);
                checker.counts.prolonged += 1;
                let until = self.clock.real(service.until);
                checker.extended(real, name, &slot, service.fence, until);
            }
            (_, Some(_)) => checker.counts.refused += 1,
            (_, None) => {}
        }
    }

    /// Every call must have been answered.
    pub fn check_answered(&self, checker: &mut Checker) {
        let open = self.operations.iter().count();
        if open > 0 && !self.crashed {
            checker.stuck(format!(
                "{open} calls of client {} are not answered",
                self.id
            ));
        }
    }
}

impl Service {
    fn is_held(&self, now: u64) -> bool {
        self.held && now < self.until
    }
}

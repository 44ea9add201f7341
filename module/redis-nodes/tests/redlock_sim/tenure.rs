//! What a client does with a lease: hold, extend, release.

use openai_core::lease::{LeaseHandle, Lock};
use redis_nodes::GiveBack;

use crate::checker::Checker;
use crate::client::{Asking, Client, Held};
use crate::message::Timer;
use crate::plan::{END, Sabotage, TTL};

impl Client {
    pub(super) fn win(
        &mut self,
        real: u64,
        asking: &Asking,
        choice: usize,
        mut lock: Lock,
        checker: &mut Checker,
    ) {
        let now = self.clock.at(real);
        if self.sabotage == Some(Sabotage::Validity) {
            lock.deadline_ms = now + TTL;
        }
        let slot = asking.options[choice];
        let until = self.clock.real(lock.deadline_ms);
        checker.won(real, self.id, self.field(slot), &lock, until);
        let mut machine = self.machine.borrow_mut();
        machine.fences[slot] = machine.fences[slot].max(lock.fence);
        drop(machine);
        if self.group.is_crowded(&self.names) {
            self.group.unqueue(&self.names);
        }
        self.lease = Some(Held {
            serial: asking.serial,
            handle: asking.handle,
            slot,
            lock,
            handed: 0,
            may_be_extended: false,
        });
        // After the end, service locks would not be maintained.
        if self.rng.percent(25) && real < END {
            return self.entrust(real, checker);
        }
        self.hold(asking.serial);
    }

    pub(super) fn hold(&mut self, serial: u64) {
        let longest = *self.rng.pick(&[TTL / 50, 3 * TTL, 3 * TTL]);
        let hold = self.rng.within(1, longest);
        self.later(hold, Timer::GiveBack(serial));
        self.later(TTL / 3, Timer::Renew(serial));
    }

    pub(super) fn renew(&mut self, real: u64) {
        let Some(own) = self.lease.as_mut() else {
            return;
        };
        own.may_be_extended = true;
        let slot = self.slots[own.slot].slot.clone();
        let locks = [(own.handle, slot, own.lock)];
        let serial = own.serial;
        let now = self.clock.at(real);
        self.group
            .prolong(&self.names, TTL, &locks, now, &mut self.done);
        self.later(TTL / 3, Timer::Renew(serial));
    }

    pub(super) fn prolonged(
        &mut self,
        real: u64,
        handle: LeaseHandle,
        deadline_ms: u64,
        checker: &mut Checker,
    ) {
        let deadline_ms = match self.sabotage {
            Some(Sabotage::Validity) => self.clock.at(real) + TTL,
            _ => deadline_ms,
        };
        let own = self.lease.as_mut();
        let Some(own) = own.filter(|own| own.handle == handle) else {
            return;
        };
        own.lock.deadline_ms = own.lock.deadline_ms.max(deadline_ms);
        let (fence, until) = (own.fence(), self.clock.real(own.lock.deadline_ms));
        let slot = self.slots[own.slot].slot.field();
        checker.extended(real, self.id, slot, fence, until);
    }

    pub(super) fn lost(
        &mut self,
        real: u64,
        handle: LeaseHandle,
        deadline_ms: u64,
        checker: &mut Checker,
    ) {
        let own = self.lease.filter(|own| own.handle == handle);
        if own.is_none_or(|own| own.lock.deadline_ms > deadline_ms) {
            return;
        }
        checker.counts.lost += 1;
        let tell = self.rng.percent(50);
        self.end_lease(real, tell, checker);
    }

    /// Stops using the lease, and releases it on the nodes if `tell` is set.
    pub(super) fn end_lease(&mut self, real: u64, tell: bool, checker: &mut Checker) {
        let Some(held) = self.lease.take() else {
            return;
        };
        if tell && self.hand_over(real, &held, checker) {
            return self.ask_later_until(real);
        }
        if tell && self.retain(real, &held, checker) {
            return self.ask_later_until(real);
        }
        checker.ended(self.id, self.field(held.slot), held.fence());
        if tell {
            self.given_back.insert(held.handle, (held.slot, held.lock));
            self.give_back(
                real,
                held.slot,
                held.lock,
                (held.handle, held.may_be_extended),
            );
        }
        self.ask_later_until(real);
    }

    pub(super) fn give_back(
        &mut self,
        real: u64,
        slot: usize,
        lock: Lock,
        (handle, may_be_extended): (LeaseHandle, bool),
    ) {
        // The checker checks the release of service locks and of half of the leases. Missed
        // releases of the others are repeated to the nodes.
        let is_lease = self.given_back.contains_key(&handle);
        let give_back = GiveBack {
            lock,
            may_be_extended: may_be_extended && self.sabotage != Some(Sabotage::Ends),
            settles: !is_lease || lock.nonce().is_multiple_of(2),
            handle,
        };
        let (now, slot) = (self.clock.at(real), &self.slots[slot]);
        self.group.unlock(slot, give_back, now, &mut self.done);
    }

    /// No node has a released lock any more.
    pub(super) fn gone(&mut self, real: u64, handle: LeaseHandle, checker: &mut Checker) {
        if let Some((slot, lock)) = self.given_back.remove(&handle) {
            checker.gone(self.field(slot), &lock, real);
        }
        self.machine.borrow_mut().settled(handle);
    }

    fn ask_later_until(&mut self, real: u64) {
        if real < END {
            self.ask_later();
        }
    }
}

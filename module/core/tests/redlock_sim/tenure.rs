//! What a client does with a lease: hold, extend, release.

use openai_core::redlock::{
    AcquireEvent, Lease, Release, ReleaseAction, Renewal, RenewalAction, RenewalEvent,
};

use crate::checker::Checker;
use crate::client::{Client, Held};
use crate::message::{Timer, Topic};
use crate::plan::{END, NODE_TIMEOUT, Sabotage, TIMING, TTL};

impl Client {
    pub(super) fn win(&mut self, real: u64, serial: u64, mut lease: Lease, checker: &mut Checker) {
        if self.sabotage == Some(Sabotage::Validity) {
            lease.deadline_ms = self.clock.at(real) + TTL;
        }
        let until = self.clock.real(lease.deadline_ms);
        checker.won(real, self.id, lease.slot.field(), lease.fence.get(), until);
        self.lease = Some(Held {
            serial,
            lease,
            handed: 0,
            retold: false,
        });
        // Nobody would maintain it later.
        if self.rng.percent(25) && real < END {
            return self.entrust(real, checker);
        }
        self.hold(serial);
    }

    pub(super) fn hold(&mut self, serial: u64) {
        let longest = *self.rng.pick(&[TTL / 50, 3 * TTL, 3 * TTL]);
        let hold = self.rng.within(1, longest);
        self.later(hold, Timer::GiveBack(serial));
        self.later(TTL / 3, Timer::Renew(serial));
    }

    pub(super) fn renew(&mut self, real: u64, checker: &mut Checker) {
        let Some(own) = self.lease.as_mut() else {
            return;
        };
        own.retold = true;
        let (held, lease) = (own.serial, own.lease.clone());
        let now = self.clock.at(real);
        let (renewal, actions) = Renewal::new(self.quorum, TIMING, self.healthy(), &[lease], now);
        self.serial += 1;
        self.renewals.insert(self.serial, (held, renewal));
        self.later(NODE_TIMEOUT, Timer::RenewalTimeout(self.serial));
        self.later(TTL / 3, Timer::Renew(held));
        self.renewal_actions(real, self.serial, held, actions, checker);
    }

    pub(super) fn renewal_event(
        &mut self,
        real: u64,
        serial: u64,
        event: RenewalEvent<'_>,
        checker: &mut Checker,
    ) {
        let now = self.clock.at(real);
        if let Some((held, renewal)) = self.renewals.get_mut(&serial) {
            let (held, actions) = (*held, renewal.step(now, event));
            self.renewal_actions(real, serial, held, actions, checker);
        }
    }

    fn renewal_actions(
        &mut self,
        real: u64,
        serial: u64,
        held: u64,
        actions: Vec<RenewalAction>,
        checker: &mut Checker,
    ) {
        for action in actions {
            let Some(own) = self.lease.as_mut().filter(|own| own.serial == held) else {
                return;
            };
            let fence = own.fence();
            let lease = &mut own.lease;
            match action {
                RenewalAction::Send { to, command } => {
                    self.send(to, Topic::Renewal(serial), &command);
                }
                RenewalAction::Extended { deadline_ms, .. } => {
                    lease.extend(match self.sabotage {
                        Some(Sabotage::Validity) => self.clock.at(real) + TTL,
                        _ => deadline_ms,
                    });
                    let slot = lease.slot.field().to_owned();
                    let until = self.clock.real(lease.deadline_ms);
                    checker.extended(real, self.id, &slot, fence, until);
                }
                RenewalAction::Kept { .. } => {}
                RenewalAction::Lost { .. } => {
                    // An earlier renewal may have set a later deadline.
                    if lease.is_valid(self.clock.at(real)) && self.rng.percent(50) {
                        continue;
                    }
                    checker.counts.lost += 1;
                    let tell = self.rng.percent(50);
                    self.end_lease(real, tell, checker);
                }
            }
        }
    }

    /// Stops the work under the lease, and optionally releases it on the nodes.
    pub(super) fn end_lease(&mut self, real: u64, tell: bool, checker: &mut Checker) {
        let Some(held) = self.lease.take() else {
            return;
        };
        if tell && self.hand_over(real, &held, checker) {
            return self.ask_later_until(real);
        }
        checker.ended(self.id, held.lease.slot.field(), held.fence());
        self.attempt_event(real, held.serial, AcquireEvent::Abandoned, checker);
        if tell {
            self.serial += 1;
            let topic = Topic::Release(self.serial);
            self.give_back(topic, &held.lease, held.retold);
        }
        self.ask_later_until(real);
    }

    pub(super) fn give_back(&mut self, topic: Topic, lease: &Lease, retold: bool) {
        let retold = retold && self.sabotage != Some(Sabotage::Ends);
        let (release, action) = Release::new(self.quorum, lease, retold);
        self.releases.insert(self.serial, (lease.clone(), release));
        if let ReleaseAction::Send { to, command } = action {
            self.send(to, topic, &command);
        }
    }

    fn ask_later_until(&mut self, real: u64) {
        if real < END {
            self.ask_later();
        }
    }
}

//! What a client does with a lease: hold it, prolong it, give it back.

use openai_core::redlock::{
    Event, Lease, Release, ReleaseAction, Renewal, RenewalAction, RenewalEvent,
};

use crate::checker::Checker;
use crate::client::Client;
use crate::message::{Timer, Topic};
use crate::plan::{END, NODE_TIMEOUT, Sabotage, TIMING, TTL};

impl Client {
    pub(super) fn won(&mut self, real: u64, serial: u64, mut lease: Lease, checker: &mut Checker) {
        if self.sabotage == Some(Sabotage::Validity) {
            lease.deadline_ms = self.clock.at(real) + TTL;
        }
        let until = self.clock.real(lease.deadline_ms);
        checker.won(real, self.id, lease.slot.field(), lease.fence.get(), until);
        self.lease = Some((serial, lease));
        let hold = self.rng.within(1, 3 * TTL);
        self.later(hold, Timer::GiveBack(serial));
        self.later(TTL / 3, Timer::Renew(serial));
    }

    pub(super) fn renew(&mut self, real: u64, checker: &mut Checker) {
        let Some((held, lease)) = self.lease.clone() else {
            return;
        };
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
            let Some((_, lease)) = self.lease.as_mut().filter(|(holder, _)| *holder == held) else {
                return;
            };
            match action {
                RenewalAction::Send { to, command } => {
                    self.send(to, Topic::Renewal(serial), &command);
                }
                RenewalAction::Extended { deadline_ms, .. } => {
                    lease.extend(match self.sabotage {
                        Some(Sabotage::Validity) => self.clock.at(real) + TTL,
                        _ => deadline_ms,
                    });
                    let (slot, fence) = (lease.slot.field().to_owned(), lease.fence.get());
                    let until = self.clock.real(lease.deadline_ms);
                    checker.extended(real, self.id, &slot, fence, until);
                }
                RenewalAction::Kept { .. } => {}
                RenewalAction::Lost { .. } => {
                    // An earlier renewal may know better than this one.
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

    /// Stops what was done under the lease, and tells the nodes or not.
    pub(super) fn end_lease(&mut self, real: u64, tell: bool, checker: &mut Checker) {
        let Some((held, lease)) = self.lease.take() else {
            return;
        };
        checker.ended(self.id, lease.slot.field(), lease.fence.get());
        self.attempt_event(real, held, Event::Abandoned, checker);
        if tell {
            let (release, action) = Release::new(self.quorum, &lease);
            self.serial += 1;
            self.releases.insert(self.serial, release);
            if let ReleaseAction::Send { to, command } = action {
                self.send(to, Topic::Release(self.serial), &command);
            }
        }
        if real < END {
            self.ask_later();
        }
    }
}

//! How a client acquires a lease.

use openai_core::redlock::{
    Acquire, AcquireAction, AcquireEvent, AcquireFailure, AcquireOptions, Candidates, Command,
    Fence, Holder, NodeId, NodeSet, Nonce, Proposal, RetryDelay, Slot,
};

use crate::checker::Checker;
use crate::client::Client;
use crate::message::{Timer, Topic};
use crate::plan::{NODE_TIMEOUT, QUARANTINE, Sabotage, TIMING, TTL};

const RETRY: RetryDelay = RetryDelay {
    min_ms: 2,
    jitter_ms: 20,
};
/// Wall clock at the start of every history, in microseconds.
const WALL: i64 = 1_700_000_000_000_000;

impl Client {
    pub(super) fn ask(&mut self, real: u64, slots: Vec<Slot>, checker: &mut Checker) {
        let now = self.clock.at(real);
        let wall = WALL + (real as i64 + self.wall_skew) * 1_000 + self.rng.within(0, 999) as i64;
        self.serial += 1;
        let serial = self.serial;
        let nonce = (u128::from(self.rng.next()) << 64) | u128::from(self.rng.next());
        let nonce = nonce | u128::from(self.careful);
        let fence = self.propose(wall as u64);
        let attempt = AcquireOptions {
            quorum: self.quorum,
            ask: self.trusted(now),
            proposal: Proposal {
                candidates: Candidates::shuffled(slots, self.rng.next()).unwrap(),
                nonce: Nonce(nonce),
                ttl_ms: TTL,
                fence,
                holder: Holder::new("client", "request", real),
                quarantine_ms: match self.sabotage {
                    Some(Sabotage::Guard) => 0,
                    _ => QUARANTINE,
                },
                bootstrap: false,
            },
            drift: TIMING.drift,
            retry: RETRY,
            random: self.rng.next(),
        };
        let (acquire, actions) = Acquire::new(attempt, now);
        self.attempts.insert(serial, acquire);
        self.later(NODE_TIMEOUT, Timer::AttemptTimeout(serial));
        if self.rng.percent(5) {
            let after = self.rng.within(0, 2 * NODE_TIMEOUT);
            self.later(after, Timer::Abandon(serial));
        }
        self.attempt_actions(real, serial, actions, checker);
    }

    fn propose(&mut self, wall: u64) -> Fence {
        let fence = self.fences.propose(wall, self.proposed);
        self.proposed = fence;
        if self.sabotage == Some(Sabotage::Block) {
            // The lowest possible fence.
            self.raw = wall.max(self.raw + 1);
            return Fence::new(self.raw).unwrap();
        }
        fence
    }

    /// Nodes that may be asked for grants.
    fn trusted(&self, now: u64) -> NodeSet {
        let trusts = |node: &NodeId| {
            let life = &self.lives[usize::from(node.0)];
            life.is_trusted(now) || self.sabotage == Some(Sabotage::Incarnation)
        };
        self.healthy().iter().filter(trusts).collect()
    }

    /// Nodes that are not suspect.
    pub(super) fn healthy(&self) -> NodeSet {
        let up = |node: &NodeId| !self.health[usize::from(node.0)].is_suspect();
        self.quorum.all().iter().filter(up).collect()
    }

    pub(super) fn attempt_event(
        &mut self,
        real: u64,
        serial: u64,
        event: AcquireEvent,
        checker: &mut Checker,
    ) {
        let now = self.clock.at(real);
        let Some(attempt) = self.attempts.get_mut(&serial) else {
            return;
        };
        let actions = attempt.step(now, event);
        let highest = attempt.highest_fence();
        self.fences.saw(highest);
        self.raw = self.raw.max(highest.get());
        self.attempt_actions(real, serial, actions, checker);
    }

    fn attempt_actions(
        &mut self,
        real: u64,
        serial: u64,
        actions: Vec<AcquireAction>,
        checker: &mut Checker,
    ) {
        for action in actions {
            match action {
                AcquireAction::Send { to, command } => {
                    self.send(to, Topic::Attempt(serial), &command)
                }
                AcquireAction::Release { to, command } => {
                    checker.counts.strays += u64::from(to.len());
                    self.send(to, Topic::Stray, &Command::Release(command));
                }
                AcquireAction::Won { lease, .. } => {
                    self.careful = false;
                    self.won.insert(serial);
                    self.win(real, serial, lease, checker);
                }
                AcquireAction::Retry {
                    after_ms,
                    candidates,
                } => {
                    checker.counts.retries += 1;
                    let slots = self.attempts[&serial].candidates().slots();
                    let again = candidates
                        .iter()
                        .map(|index| slots[index].clone())
                        .collect();
                    self.later(after_ms, Timer::Ask(again));
                }
                AcquireAction::Failed(failure) => {
                    let counts = &mut checker.counts;
                    *match failure {
                        AcquireFailure::Busy { .. } => &mut counts.busy,
                        AcquireFailure::NoQuorum => &mut counts.no_quorum,
                        AcquireFailure::Quarantine { .. } => &mut counts.quarantine,
                        AcquireFailure::TooLate => &mut counts.too_late,
                        AcquireFailure::Abandoned => &mut counts.abandoned,
                    } += 1;
                    self.ask_later();
                }
            }
        }
    }

    pub(super) fn ask_later(&mut self) {
        let after = self.rng.within(1, TTL / 3);
        self.later(after, Timer::Ask(self.plan.slots.clone()));
    }
}

//! Checks at the end of a history that nothing remains locked.

use openai_core::redlock::{
    AcquireAction, AcquireEvent, AcquireOptions, Acquisition, Candidates, Command, Fence,
    FenceClock, Holder, Nonce, Proposal, Quorum, RetryDelay, Slot, reply,
};

use crate::plan::{QUARANTINE, TIMING, TTL};
use crate::world::World;

/// One TTL by the slowest clock.
const LAPSE: u64 = TTL + TTL / 50;

impl World {
    /// A lock that is still on a node, if any.
    pub fn holds_any(&self) -> Option<String> {
        self.nodes.iter().find_map(|node| {
            let now = node.clock.at(self.now);
            let held = node.store.locks.iter().find(|(_, lock)| lock.until >= now);
            held.map(|(slot, lock)| format!("{slot} is under {} at {}", lock.nonce, self.now))
        })
    }

    /// Checks that one TTL after the last message every slot is free, and that a new client without
    /// any knowledge can acquire it.
    pub fn check_aftermath(&mut self) {
        let busy = self.nodes.iter().map(|node| node.busy_until).max();
        self.now = self.now.max(busy.unwrap_or(0)) + LAPSE;
        if let Some(what) = self.holds_any() {
            self.checker.stuck(format!("stuck: {what}"));
        }
        for slot in self.plan.slots.clone() {
            let mut fences = FenceClock::default();
            // The first attempt may start the quarantine, the second may learn the fence.
            let won = (1..=3).any(|attempt| {
                let won = self.newcomer_wins(&slot, &mut fences, attempt);
                self.now += QUARANTINE + QUARANTINE / 50;
                won
            });
            if !won {
                let what = format!("nobody can have {} at {}", slot.field(), self.now);
                self.checker.stuck(what);
            }
        }
    }

    fn newcomer_wins(&mut self, slot: &Slot, fences: &mut FenceClock, attempt: u128) -> bool {
        let quorum = Quorum::of(self.plan.nodes).unwrap();
        let candidates = Candidates::in_order(vec![slot.clone()]).unwrap();
        let attempt = AcquireOptions {
            quorum,
            ask: quorum.all(),
            proposal: Proposal {
                candidates: candidates.clone(),
                nonce: Nonce(2 * attempt + 1),
                ttl_ms: TTL,
                fence: fences.propose(0, Fence::default()),
                holder: Holder::default(),
                quarantine_ms: QUARANTINE,
                bootstrap: false,
            },
            drift: TIMING.drift,
            retry: RetryDelay {
                min_ms: 0,
                jitter_ms: 0,
            },
            random: 0,
        };
        let command = Command::Acquire(attempt.proposal.clone().into());
        let (mut acquire, _send) = Acquisition::new(attempt, self.now);
        let mut won = false;
        for id in quorum.all().iter() {
            let node = &mut self.nodes[usize::from(id.0)];
            let value = node.store.run(&command, node.clock.at(self.now));
            let ballot = reply::acquire(&value, &candidates).unwrap();
            let actions = acquire.step(self.now, AcquireEvent::Voted(id, ballot));
            won |= actions
                .iter()
                .any(|action| matches!(action, AcquireAction::Won { .. }));
        }
        fences.saw(acquire.highest_fence());
        won
    }
}

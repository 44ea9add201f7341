//! Timeouts of nodes.

use openai_core::redlock::{AcquireEvent, NodeSet, ReleaseEvent, RenewalEvent};
use rand::RngCore;
use slotmap::{Key, SlotMap};

use super::{Group, GroupEvent};
use crate::transport::{GroupTimer, Transport};

/// The keys of the entries for which `is_late` returns `true`.
fn late<K: Key, T>(things: &SlotMap<K, T>, is_late: impl Fn(&T) -> bool) -> Vec<K> {
    let late = things.iter().filter(|(_, thing)| is_late(thing));
    late.map(|(key, _)| key).collect()
}

impl<T: Transport> Group<T> {
    /// Handles the expiry of [`GroupTimer::Timeout`]: nodes that have not replied in time count as
    /// failed.
    pub fn timeouts(&mut self, now: u64, done: &mut Vec<GroupEvent>) {
        self.timeout_set = false;
        let mut slow = NodeSet::default();
        for key in late(&self.attempts, |attempt| attempt.due <= now) {
            let pending = self.attempts.get(key).map(|a| a.acquire.pending());
            for node in pending.unwrap_or_default().iter() {
                slow.insert(node);
                self.step(key, AcquireEvent::TimedOut(node), now, done);
            }
        }
        for key in late(&self.unlocks, |unlock| unlock.due <= now) {
            for node in self.quorum.all().iter() {
                self.unlocked(key, ReleaseEvent::Failed(node), done);
            }
        }
        for key in late(&self.renewals, |renewal| renewal.due <= now) {
            let pending = self.renewals.get(key).map(|r| r.renewal.pending());
            for node in pending.unwrap_or_default().iter() {
                slow.insert(node);
                self.renewal_step(key, RenewalEvent::Failed(node), now, done);
            }
        }
        for node in slow.iter() {
            let random = self.random.next_u64();
            if let Some(node) = self.nodes.get_mut(usize::from(node.0)) {
                node.timed_out(now, random);
            }
        }
        self.arm();
    }

    /// Starts the timer, unless it runs or nothing is outstanding. One timer is enough, because all
    /// operations have the same timeout.
    pub(super) fn arm(&mut self) {
        let idle = self.attempts.is_empty() && self.unlocks.is_empty() && self.renewals.is_empty();
        if !self.timeout_set && !idle {
            self.timeout_set = true;
            let after_ms = self.setup.timeout_ms.div_ceil(2).max(1);
            self.transport.start(GroupTimer::Timeout, after_ms);
        }
    }
}

//! Giving locks back.

use std::rc::Rc;

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{
    Lease, NodeId, NodeSet, Nonce, PoolNames, Release, ReleaseAction, ReleaseEvent, ScriptCall,
    Slot,
};

use super::super::call::by_digest;
use super::{Group, Order, Outcome, UnlockKey, Unlocking};

impl Group {
    /// Gives a lock back; [`Outcome::Unlocked`] tells when that is done.
    pub fn unlock(
        &mut self,
        names: &PoolNames,
        slot: Slot,
        lock: Lock,
        handle: LeaseHandle,
        now: u64,
        done: &mut Vec<Outcome>,
    ) {
        let lease = Lease {
            slot,
            nonce: Nonce(lock.nonce()),
            fence: Default::default(),
            deadline_ms: lock.deadline_ms,
        };
        let (release, action) = Release::new(self.quorum, &lease);
        let ReleaseAction::Send { to, command } = action else {
            return;
        };
        let call = Rc::new(ScriptCall::new(&command, names));
        let due = now + self.setup.timeout_ms;
        let key = self.unlocks.insert(Unlocking {
            release,
            handle,
            for_others: NodeSet::default(),
            due,
        });
        let packed = by_digest(&call);
        for node in to.iter() {
            let order = Order::Unlock(key, Rc::clone(&call));
            if self.send(node, &packed, order).is_err() {
                self.unlocked(key, ReleaseEvent::Failed(node), done);
            }
        }
        self.arm();
    }

    /// Notes whom a node has told of the slot that it gave up.
    pub(super) fn note_next(&mut self, key: UnlockKey, node: NodeId, next: Option<&str>) {
        let other = next.is_some_and(|waiter| {
            waiter.rsplit_once(':').map(|(instance, _)| instance) != Some(&self.setup.instance)
        });
        if other && let Some(unlocking) = self.unlocks.get_mut(key) {
            unlocking.for_others.insert(node);
        }
    }

    pub(super) fn unlocked(
        &mut self,
        key: UnlockKey,
        event: ReleaseEvent,
        done: &mut Vec<Outcome>,
    ) {
        let Some(unlocking) = self.unlocks.get_mut(key) else {
            return;
        };
        if let Some(ReleaseAction::Done(_)) = unlocking.release.step(event) {
            done.push(Outcome::Unlocked {
                handle: unlocking.handle,
                for_others: unlocking.for_others.len() > self.quorum.spare(),
            });
            self.unlocks.remove(key);
        }
    }
}

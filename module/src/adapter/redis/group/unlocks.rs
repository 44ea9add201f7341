//! Giving locks back.

use std::rc::Rc;

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{
    Lease, Nonce, PoolNames, Release, ReleaseAction, ReleaseEvent, ScriptCall, Slot,
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
            due,
        });
        let packed = by_digest(&call);
        for node in to.iter() {
            if self
                .send(node, &packed, Order::Unlock(key, Rc::clone(&call)), now)
                .is_err()
            {
                self.unlocked(key, ReleaseEvent::Failed(node), done);
            }
        }
        self.arm();
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
            });
            self.unlocks.remove(key);
        }
    }
}

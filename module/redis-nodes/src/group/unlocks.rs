//! Release of locks.

use std::rc::Rc;

use openai_core::redlock::{NodeId, NodeSet, Nonce, ReleaseEvent, Unlock};

use super::{GiveBack, Group, GroupEvent, Order, UnlockKey, Unlocking};
use crate::commands::SlotCommands;
use crate::transport::Transport;

impl<T: Transport> Group<T> {
    /// Releases a lock on all nodes. [`GroupEvent::Unlocked`] reports that this is decided.
    pub fn unlock(
        &mut self,
        slot: &Rc<SlotCommands>,
        lock: GiveBack,
        now: u64,
        done: &mut Vec<GroupEvent>,
    ) {
        let nonce = Nonce(lock.lock.nonce());
        let key = self.unlocks.insert(Unlocking {
            release: Unlock::new(self.quorum),
            handle: lock.handle,
            settles: lock.settles,
            for_others: NodeSet::default(),
            due: now + self.setup.timeout_ms,
        });
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        slot.release(&self.setup.owner, nonce, lock.ends(), &mut packed);
        // Nodes that seemed not to grant the lock may have it as well.
        for node in self.quorum.all().iter() {
            let order = Order::Unlock(key, Rc::clone(slot), lock);
            if let Err(order) = self.send(node, &packed, 1, order) {
                self.miss(node, order);
                self.unlocked(key, ReleaseEvent::Failed(node), done);
            }
        }
        self.packed = packed;
        self.arm();
    }

    /// Notes whether a node has passed the released slot to a waiter on another machine.
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
        done: &mut Vec<GroupEvent>,
    ) {
        let Some(unlocking) = self.unlocks.get_mut(key) else {
            return;
        };
        if unlocking.release.step(event) {
            done.push(GroupEvent::Unlocked {
                handle: unlocking.handle,
                for_others: unlocking.for_others.len() > self.quorum.spare(),
            });
        }
        if unlocking.release.is_over() {
            if unlocking.settles && unlocking.release.is_gone() {
                let handle = unlocking.handle;
                done.push(GroupEvent::Gone { handle });
            }
            self.unlocks.remove(key);
        }
    }
}

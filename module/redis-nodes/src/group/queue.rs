//! The queue of all machines: an entry for the waiters of this one, and messages about
//! slots that others give up.
//!
//! All workers of a machine share one entry and one channel. A machine that takes
//! a lock while others wait goes to the end: machines take turns within a priority.

use std::rc::Rc;

use openai_core::redlock::{
    Command, Enlist, NodeId, NodeSet, PoolNames, Priority, ScriptCall, Value, reply,
};

use super::{Group, GroupEvent, Order};
use crate::call::by_digest;
use crate::transport::{GroupTimer, Transport};

/// For how long nodes keep an entry that is not renewed.
const ENTRY_MS: u64 = 2_000;
const RENEW_MS: u64 = 600;
/// How long to wait for other nodes to say, too, that a slot is free: the first
/// one has it from a release that is still on its way to them.
const WAKE_MS: u64 = 3;
/// What a node may have us remember.
const MOST_WOKEN: usize = 1_024;

/// The entry of this machine in the queue of a pool.
pub(super) struct Entry {
    names: Rc<PoolNames>,
    priority: i32,
    renew_at: u64,
    /// The nodes that know of waiters on other machines.
    crowded: NodeSet,
}

impl<T: Transport> Group<T> {
    fn entry(&mut self, names: &PoolNames) -> Option<&mut Entry> {
        let same = |entry: &&mut Entry| entry.names.base() == names.base();
        self.queues.iter_mut().find(same)
    }

    /// The pools in whose queues this worker has put a entry.
    pub fn queued_in(&self) -> Vec<Rc<PoolNames>> {
        self.queues
            .iter()
            .map(|entry| Rc::clone(&entry.names))
            .collect()
    }

    /// Whether there is an entry for a waiter of this priority.
    pub fn is_queued(&self, names: &PoolNames, priority: i32) -> bool {
        self.queues
            .iter()
            .any(|entry| entry.names.base() == names.base() && entry.priority >= priority)
    }

    /// Somebody waits here, with this priority at most.
    pub fn queue_up(&mut self, names: &Rc<PoolNames>, priority: i32, now: u64) {
        match self.entry(names) {
            Some(entry) if entry.priority != priority => {
                entry.priority = priority;
                entry.renew_at = now + RENEW_MS;
                self.leave(names);
            }
            Some(entry) if entry.renew_at > now => return,
            Some(entry) => entry.renew_at = now + RENEW_MS,
            None => self.queues.push(Entry {
                names: Rc::clone(names),
                priority,
                renew_at: now + RENEW_MS,
                crowded: NodeSet::default(),
            }),
        }
        self.enlist(names, priority);
    }

    /// It was our turn; others wait, too.
    pub fn requeue(&mut self, names: &Rc<PoolNames>, priority: i32) {
        if self.is_crowded(names) {
            self.leave(names);
            self.enlist(names, priority);
        }
    }

    /// Nobody waits here any more.
    pub fn unqueue(&mut self, names: &Rc<PoolNames>) {
        let before = self.queues.len();
        self.queues
            .retain(|entry| entry.names.base() != names.base());
        if self.queues.len() < before {
            self.leave(names);
        }
    }

    /// Whether waiters on other machines are known of.
    pub fn is_crowded(&self, names: &PoolNames) -> bool {
        self.queues.iter().any(|entry| {
            entry.names.base() == names.base() && entry.crowded.len() > self.quorum.spare()
        })
    }

    fn enlist(&mut self, names: &Rc<PoolNames>, priority: i32) {
        let priority = Priority::nearest(priority);
        let Ok(enlist) = Enlist::new(&self.setup.instance, 0, priority, ENTRY_MS) else {
            return;
        };
        let call = Rc::new(ScriptCall::new(&Command::Enqueue(enlist), names));
        let packed = by_digest(&call);
        for node in self.quorum.all().iter() {
            let order = Order::Enqueue(Rc::clone(names), Rc::clone(&call));
            let _ = self.send(node, &packed, order);
        }
    }

    fn leave(&mut self, names: &PoolNames) {
        let Ok(enlist) = Enlist::new(&self.setup.instance, 0, Priority::default(), 0) else {
            return;
        };
        let waiter = enlist.waiter().to_owned();
        let call = Rc::new(ScriptCall::new(&Command::Leave { waiter }, names));
        let packed = by_digest(&call);
        for node in self.quorum.all().iter() {
            let _ = self.send(node, &packed, Order::Stray(Rc::clone(&call)));
        }
    }

    pub(super) fn enqueued(&mut self, node: NodeId, names: &PoolNames, value: &Value) {
        let others = reply::enqueue(value).unwrap_or_default();
        let Some(entry) = self.entry(names) else {
            return;
        };
        if others > 0 {
            entry.crowded.insert(node);
        } else {
            entry.crowded.remove(node);
        }
    }

    /// A node has told us of a slot that has been given up. That counts once a
    /// quorum has, or after a moment.
    pub(super) fn woken(
        &mut self,
        node: NodeId,
        channel: &[u8],
        text: &[u8],
        done: &mut Vec<GroupEvent>,
    ) {
        let ours = |names: &Rc<PoolNames>| {
            names
                .wake_channel(&self.setup.instance)
                .is_ok_and(|name| name.as_bytes() == channel)
        };
        let Some(pool) = self.setup.pools.iter().position(ours) else {
            return;
        };
        let field = str::from_utf8(text).ok().and_then(|t| t.split_once(' '));
        let Some((_, field)) = field else { return };
        if self.woken.is_empty() {
            self.transport.start(GroupTimer::Wake, WAKE_MS);
        } else if self.woken.len() >= MOST_WOKEN {
            return;
        }
        let key = (pool, field.to_owned());
        let said = self.woken.entry(key.clone()).or_default();
        said.insert(node);
        if said.len() >= self.quorum.needed() {
            self.woken.remove(&key);
            done.push(self.freed(key));
        }
    }

    /// Those who have not told us by now will not.
    pub fn wake(&mut self, done: &mut Vec<GroupEvent>) {
        let woken = std::mem::take(&mut self.woken);
        done.extend(woken.into_keys().map(|key| self.freed(key)));
    }

    fn freed(&self, (pool, field): (usize, String)) -> GroupEvent {
        let names = Rc::clone(&self.setup.pools[pool]);
        GroupEvent::Freed { names, field }
    }
}

//! The queue of all machines: one entry for the waiters of this machine, and messages about slots
//! that other machines release.
//!
//! All workers of a machine share one entry and one channel. A machine that takes a lock while
//! others wait moves to the end, so that machines take turns within a priority.

use std::rc::Rc;

use openai_core::redlock::{
    Command, Enlist, NodeId, NodeSet, PoolNames, Priority, ScriptCall, Value, reply,
};

use super::{Group, GroupEvent, Order};
use crate::transport::{GroupTimer, Transport};

/// How long nodes keep an entry that is not renewed.
const ENTRY_MS: u64 = 2_000;
const RENEW_MS: u64 = 600;
/// How long after an entry was sent another request that begins to wait relies on it. Another
/// worker, which saw no waiter on this machine, may have removed it since.
const FRESH_MS: u64 = 50;
/// How long to wait until more nodes report that a slot is free: the release reaches the nodes at
/// different times.
const WAKE_MS: u64 = 3;
/// Maximum number of released slots to remember.
const MOST_WOKEN: usize = 1_024;

/// The entry of this machine in the queue of a pool.
pub(super) struct QueueEntry {
    names: Rc<PoolNames>,
    priority: i32,
    sent_ms: u64,
    /// The nodes that know of waiters on other machines.
    crowded: NodeSet,
}

impl<T: Transport> Group<T> {
    fn entry(&self, names: &PoolNames) -> Option<&QueueEntry> {
        let same = |entry: &&QueueEntry| entry.names.base() == names.base();
        self.queues.iter().find(same)
    }

    fn entry_mut(&mut self, names: &PoolNames) -> Option<&mut QueueEntry> {
        let same = |entry: &&mut QueueEntry| entry.names.base() == names.base();
        self.queues.iter_mut().find(same)
    }

    /// The pools in whose queues this worker has an entry.
    pub fn queued_in(&self) -> Vec<Rc<PoolNames>> {
        self.queues
            .iter()
            .map(|entry| Rc::clone(&entry.names))
            .collect()
    }

    /// Adds or renews the entry for a pool, because a request with this priority begins to wait.
    pub fn join(&mut self, names: &Rc<PoolNames>, priority: i32, now: u64) {
        let before = self.entry(names).map_or(priority, |entry| entry.priority);
        self.send_entry(names, priority.max(before), FRESH_MS, now);
    }

    /// Keeps the entry for a pool, with the highest priority of the local waiters.
    pub fn stay(&mut self, names: &Rc<PoolNames>, priority: i32, now: u64) {
        self.send_entry(names, priority, RENEW_MS, now);
    }

    /// Sends the entry for a pool, unless it has the priority and was sent in the last `every_ms`.
    fn send_entry(&mut self, names: &Rc<PoolNames>, priority: i32, every_ms: u64, now: u64) {
        match self.entry_mut(names) {
            Some(entry) if entry.priority != priority => {
                entry.priority = priority;
                entry.sent_ms = now;
                self.leave(names);
            }
            Some(entry) if entry.sent_ms + every_ms > now => return,
            Some(entry) => entry.sent_ms = now,
            None => self.queues.push(QueueEntry {
                names: Rc::clone(names),
                priority,
                sent_ms: now,
                crowded: NodeSet::default(),
            }),
        }
        self.enlist(names, priority);
    }

    /// Moves the entry to the end of the queue if other machines wait too. Called after a lock was
    /// taken.
    pub fn requeue(&mut self, names: &Rc<PoolNames>, priority: i32) {
        if self.is_crowded(names) {
            self.leave(names);
            self.enlist(names, priority);
        }
    }

    /// Removes the entry for a pool: there are no local waiters any more.
    pub fn unqueue(&mut self, names: &Rc<PoolNames>) {
        let before = self.queues.len();
        self.queues
            .retain(|entry| entry.names.base() != names.base());
        if self.queues.len() < before {
            self.leave(names);
        }
    }

    /// Whether enough nodes know of waiters on other machines.
    pub fn is_crowded(&self, names: &PoolNames) -> bool {
        let entry = self.entry(names);
        entry.is_some_and(|entry| entry.crowded.len() > self.quorum.spare())
    }

    fn enlist(&mut self, names: &Rc<PoolNames>, priority: i32) {
        let priority = Priority::nearest(priority);
        let Ok(enlist) = Enlist::new(&self.setup.instance, 0, priority, ENTRY_MS) else {
            return;
        };
        let call = ScriptCall::new(&Command::Enqueue(enlist), names);
        self.send_call(self.quorum.all(), call, |call| {
            Order::Enqueue(Rc::clone(names), call)
        });
    }

    fn leave(&mut self, names: &PoolNames) {
        let Ok(enlist) = Enlist::new(&self.setup.instance, 0, Priority::default(), 0) else {
            return;
        };
        let waiter = enlist.waiter().to_owned();
        let call = ScriptCall::new(&Command::Leave { waiter }, names);
        self.send_call(self.quorum.all(), call, Order::Notice);
    }

    pub(super) fn enqueued(&mut self, node: NodeId, names: &PoolNames, value: &Value) {
        let others = reply::enqueue(value).unwrap_or_default();
        let Some(entry) = self.entry_mut(names) else {
            return;
        };
        if others > 0 {
            entry.crowded.insert(node);
        } else {
            entry.crowded.remove(node);
        }
    }

    /// Handles the message of a node that a slot has been released. It takes effect once a quorum
    /// of nodes has sent it, or after [`WAKE_MS`].
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

    /// Handles the expiry of [`GroupTimer::Wake`]: the messages so far take effect without a
    /// quorum.
    pub fn wake(&mut self, done: &mut Vec<GroupEvent>) {
        let woken = std::mem::take(&mut self.woken);
        done.extend(woken.into_keys().map(|key| self.freed(key)));
    }

    fn freed(&self, (pool, field): (usize, String)) -> GroupEvent {
        let names = Rc::clone(&self.setup.pools[pool]);
        GroupEvent::Freed { names, field }
    }
}

//! Commands to nodes, and their replies.

use std::rc::Rc;

use openai_core::redlock::reply::{self, Ballot};
use openai_core::redlock::{
    AcquireEvent, ErrorKind, NodeId, NodeSet, Nonce, ReleaseEvent, RenewalEvent, ScriptCall, Value,
};

use super::cool_downs::recalled;
use super::{Group, GroupEvent, Order, Sent};
use crate::call::{by_digest, in_full};
use crate::node::{Heard, Node};
use crate::transport::Transport;

impl<T: Transport> Group<T> {
    /// Sends packed commands, whose replies are combined into one. Returns the order if the node is
    /// not connected.
    pub(super) fn send(
        &mut self,
        node: NodeId,
        packed: &[u8],
        commands: usize,
        order: Order,
    ) -> Result<(), Order> {
        let now_us = self.transport.clock_us();
        let Some(node) = self.nodes.get_mut(usize::from(node.0)) else {
            return Err(order);
        };
        let in_full = false;
        node.send(packed, commands, Sent { order, in_full }, now_us)
            .map_err(|sent| sent.order)
    }

    /// Sends a call to these nodes. To nodes that are not connected, a release is sent later; other
    /// calls are dropped.
    pub(super) fn send_call(
        &mut self,
        nodes: NodeSet,
        call: impl Into<Rc<ScriptCall>>,
        order: impl Fn(Rc<ScriptCall>) -> Order,
    ) {
        let call = call.into();
        let packed = by_digest(&call);
        for node in nodes.iter() {
            if let Err(order) = self.send(node, &packed, 1, order(Rc::clone(&call))) {
                self.miss(node, order);
            }
        }
    }

    /// Acts on a node, and handles what it has sent.
    pub(super) fn act_on(
        &mut self,
        at: usize,
        now: u64,
        done: &mut Vec<GroupEvent>,
        act: impl FnOnce(&mut Node<T, Sent>, &mut T, &mut Vec<Heard<Sent>>),
    ) {
        let mut all = std::mem::take(&mut self.heard);
        if let Some(node) = self.nodes.get_mut(at) {
            act(node, &mut self.transport, &mut all);
        }
        let node = NodeId(at as u8);
        for heard in all.drain(..) {
            match heard {
                Heard::Reply(sent, Value::Error(ErrorKind::NoScript), _) if !sent.in_full => {
                    self.send_in_full(node, sent.order, now, done);
                }
                Heard::Reply(sent, value, sent_us) => {
                    if let (Order::Acquire(_), Some(node_ms)) =
                        (&sent.order, reply::granted_at(&value))
                        && let Some(node) = self.nodes.get_mut(at)
                    {
                        node.read_clock(node_ms, sent_us, now, &mut self.transport);
                    }
                    self.replied(node, sent.order, &value, now, done);
                }
                Heard::Opened => {
                    self.catch_up(node);
                    let group = self.setup.number;
                    done.push(GroupEvent::Opened { group, node });
                }
                Heard::Message { channel, text } => {
                    if !self.is_cool_down_message(&channel, &text, done) {
                        self.woken(node, &channel, &text, done);
                    }
                }
                Heard::Broken(sent) => self.broken(node, sent.order, now, done),
            }
        }
        self.heard = all;
    }

    pub(super) fn broken(
        &mut self,
        node: NodeId,
        order: Order,
        now: u64,
        done: &mut Vec<GroupEvent>,
    ) {
        let error = Value::Error(ErrorKind::Disconnected);
        self.miss(node, order.clone());
        self.replied(node, order, &error, now, done);
    }

    pub(super) fn send_in_full(
        &mut self,
        node: NodeId,
        order: Order,
        now: u64,
        done: &mut Vec<GroupEvent>,
    ) {
        let call = match &order {
            Order::Acquire(key) => self.attempts.get(*key).and_then(|a| a.call.clone()),
            Order::Renew(key) => self.renewals.get(*key).map(|r| Rc::clone(&r.call)),
            Order::Unlock(_, slot, lock) => {
                let nonce = Nonce(lock.lock.nonce());
                Some(Rc::new(slot.release_call(nonce, lock.ends())))
            }
            Order::GiveBack(call)
            | Order::Notice(call)
            | Order::Enqueue(_, call)
            | Order::Guard(_, call)
            | Order::Recall(_, _, call)
            | Order::Share(call) => Some(Rc::clone(call)),
        };
        let now_us = self.transport.clock_us();
        let (Some(call), Some(to)) = (call, self.nodes.get_mut(usize::from(node.0))) else {
            return;
        };
        let sent = Sent {
            order,
            in_full: true,
        };
        if let Err(sent) = to.send(&in_full(&call), 1, sent, now_us) {
            self.broken(node, sent.order, now, done);
        }
    }

    pub(super) fn replied(
        &mut self,
        node: NodeId,
        order: Order,
        value: &Value,
        now: u64,
        done: &mut Vec<GroupEvent>,
    ) {
        match order {
            Order::GiveBack(_) | Order::Notice(_) => {}
            Order::Enqueue(names, _) => self.enqueued(node, &names, value),
            Order::Guard(names, _) => self.guard_replied(node, &names, value, now),
            Order::Recall(names, keys, _) => recalled(&names, &keys, value, done),
            Order::Share(_) => done.push(GroupEvent::Shared {
                group: self.setup.number,
                node,
                value: value.clone(),
            }),
            Order::Acquire(key) => {
                let Some(attempting) = self.attempts.get(key) else {
                    return;
                };
                let names = Rc::clone(&attempting.attempt.names);
                self.note_quarantine(node, &names, value, now);
                let Some(attempting) = self.attempts.get(key) else {
                    return;
                };
                let trusted = self.nodes.get(usize::from(node.0));
                let trusted = trusted.is_some_and(|node| node.is_trusted(now));
                let event = match reply::acquire(value, &attempting.candidates) {
                    // Its clock was set forward after the proposal was sent.
                    Ok(Ballot::Granted(_)) if !trusted => {
                        self.unsure(node, key, &names);
                        AcquireEvent::Erred(node, ErrorKind::Unsure)
                    }
                    Ok(ballot) => AcquireEvent::Voted(node, ballot),
                    Err(kind) => {
                        if kind == ErrorKind::Unsure {
                            self.scripts_only |= is_too_old(value);
                            self.unsure(node, key, &names);
                        }
                        AcquireEvent::Erred(node, kind)
                    }
                };
                self.count(event);
                self.step(key, event, now, done);
            }
            Order::Unlock(key, ..) => {
                let event = match reply::release(value) {
                    Ok(released) => {
                        self.note_next(key, node, released.next.as_deref());
                        ReleaseEvent::Answered(node, released.count)
                    }
                    Err(_) => ReleaseEvent::Failed(node),
                };
                self.unlocked(key, event, done);
            }
            Order::Renew(key) => {
                let Some(renewing) = self.renewals.get(key) else {
                    return;
                };
                match reply::renew(value, renewing.asked) {
                    Ok(votes) => {
                        self.renewal_step(key, RenewalEvent::Voted(node, &votes), now, done);
                    }
                    Err(_) => self.renewal_step(key, RenewalEvent::Failed(node), now, done),
                }
            }
        }
    }
}

/// Whether the reply shows a server before Redis 6.2: SET succeeded, and ZADD was rejected.
fn is_too_old(value: &Value) -> bool {
    let Value::Array(parts) = value else {
        return false;
    };
    matches!(parts.as_slice(), [_, Value::Error(ErrorKind::Other), _])
}

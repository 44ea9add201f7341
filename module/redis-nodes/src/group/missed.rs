//! Releases that a node has missed because it was not connected, or the connection broke before its
//! reply.

use std::collections::VecDeque;
use std::rc::Rc;

use openai_core::redlock::{NodeId, NodeSet, Nonce, ScriptCall};

use super::{Group, Order};
use crate::transport::Transport;

/// Maximum number of calls kept for a node. The first ones are kept: only locks that were taken
/// before the connection broke can exist on the node.
const MOST: usize = 1_024;
/// Number of calls sent at once, so that they do not delay other commands to the node.
const AT_ONCE: usize = 64;

/// The calls that a node has missed. Each releases locks.
pub(super) type Missed = VecDeque<Rc<ScriptCall>>;

impl<T: Transport> Group<T> {
    /// Keeps a command that a node has missed if it is a release that the caller does not repeat.
    pub(super) fn miss(&mut self, node: NodeId, order: Order) {
        let call = match order {
            Order::Unlock(_, slot, lock) if !lock.settles => {
                Rc::new(slot.release_call(Nonce(lock.lock.nonce()), lock.ends()))
            }
            Order::GiveBack(call) => call,
            _ => return,
        };
        if let Some(missed) = self.missed.get_mut(usize::from(node.0))
            && missed.len() < MOST
        {
            missed.push_back(call);
        }
    }

    /// Sends some of the calls that a node has missed, if it is connected. Without them, the slots
    /// would remain locked there until their locks expire.
    ///
    /// A release names the lock's nonce, which no other lock has, so a late release cannot remove
    /// another lock. A proposal that the node reads only after its connection has broken can still
    /// be granted after this; such a lock expires.
    pub(super) fn catch_up(&mut self, node: NodeId) {
        let at = usize::from(node.0);
        let is_open = self.nodes.get(at).is_some_and(|node| node.is_open());
        let Some(missed) = self.missed.get_mut(at).filter(|_| is_open) else {
            return;
        };
        let some = missed.drain(..missed.len().min(AT_ONCE));
        for call in some.collect::<Vec<_>>() {
            self.send_call(NodeSet::only(node), call, Order::GiveBack);
        }
    }
}

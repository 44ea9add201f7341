//! Quarantine of nodes, as recorded by the guard keys on the nodes themselves.
//!
//! The quarantine of a node that came back without data begins when a script first finds its guard
//! key missing. Therefore the guard is read as soon as the node is connected, not at its first
//! vote.

use std::rc::Rc;

use openai_core::redlock::{ErrorKind, NodeId, NodeSet, PoolNames, Script, ScriptCall, Value};

use super::{Group, Order};
use crate::transport::Transport;

/// What the guards of the nodes say about a pool.
#[derive(Clone, Copy)]
pub(super) enum Sight {
    /// Nothing is certain. These nodes do not know the pool: they have never had it, or have lost
    /// it.
    Unsure(NodeSet),
    /// The pool is new: a quorum of nodes does not know it, and no node does. With `bootstrap`, no
    /// lock can exist yet, so there is no quarantine. These nodes have been told to end theirs.
    New(NodeSet),
    /// Locks may exist.
    Known,
}

impl<T: Transport> Group<T> {
    /// Asks a newly connected node which of these keys are cooling down, and then reads its guards.
    /// In this order, the cool-downs are known before its first vote.
    pub fn greet(&mut self, node: NodeId, keys: Vec<(Rc<PoolNames>, Vec<String>)>) {
        for (names, keys) in keys {
            self.recall(node, &names, &keys);
        }
        self.see_guards(node);
    }

    /// Reads the guards of a node, one for each pool.
    fn see_guards(&mut self, node: NodeId) {
        for names in self.setup.pools.clone() {
            self.see_guard(node, &names, false);
        }
    }

    pub(super) fn see_guard(&mut self, node: NodeId, names: &Rc<PoolNames>, bootstrap: bool) {
        let call = self.look_at_guard(names, bootstrap);
        self.send_call(NodeSet::only(node), call, |call| {
            Order::Guard(Rc::clone(names), call)
        });
    }

    /// A call of the acquire script without candidates, which only reads the guard. With
    /// `bootstrap`, it also ends the quarantine.
    fn look_at_guard(&self, names: &PoolNames, bootstrap: bool) -> ScriptCall {
        let bootstrap = u8::from(bootstrap).to_string();
        let quarantine = self.setup.quarantine_ms.to_string();
        let unused = String::new;
        ScriptCall {
            script: Script::Acquire,
            keys: vec![names.guard(), names.fences()],
            args: vec![
                unused(),
                "1".into(),
                "0".into(),
                unused(),
                quarantine,
                bootstrap,
            ],
        }
    }

    /// Handles the reply to [`Self::see_guard`].
    pub(super) fn guard_replied(
        &mut self,
        node: NodeId,
        names: &Rc<PoolNames>,
        value: &Value,
        now: u64,
    ) {
        if let Value::Error(ErrorKind::Disconnected) = value {
            return;
        }
        let confined = self.note_quarantine(node, names, value, now);
        if let (false, Some(node)) = (confined, self.nodes.get_mut(usize::from(node.0))) {
            node.in_quarantine(names.base(), now);
        }
        if self.setup.bootstrap && (confined || is_free(value)) {
            self.look_for_first_day(node, names, confined);
        }
    }

    /// Reads the guards of nodes in quarantine again: another worker may have ended it.
    pub(super) fn see_closed_guards(&mut self, now: u64) {
        for names in self.setup.pools.clone() {
            let confined = self.those(|node| node.is_confined(names.base(), now));
            for node in confined.iter() {
                self.see_guard(node, &names, false);
            }
        }
    }

    fn look_for_first_day(&mut self, node: NodeId, names: &Rc<PoolNames>, confined: bool) {
        let base = names.base().to_owned();
        let unsure = Sight::Unsure(NodeSet::default());
        let sight = self.sights.entry(base).or_insert(unsure);
        match (&mut *sight, confined) {
            (Sight::Unsure(nodes), true) => {
                nodes.insert(node);
                if nodes.len() < self.quorum.needed() {
                    return;
                }
                let nodes = *nodes;
                *sight = Sight::New(nodes);
                for node in nodes.iter() {
                    self.see_guard(node, names, true);
                }
            }
            (Sight::Unsure(nodes), false) => {
                // The pool is not new, or another worker found it new and is ending the
                // quarantines.
                let nodes = *nodes;
                *sight = Sight::Known;
                for node in nodes.iter() {
                    self.see_guard(node, names, false);
                }
            }
            (Sight::New(told), true) if !told.contains(node) => {
                told.insert(node);
                self.see_guard(node, names, true);
            }
            (Sight::New(_) | Sight::Known, _) => {}
        }
    }

    /// Notes the quarantine of a node for a pool if the reply says so; returns whether it does.
    pub(super) fn note_quarantine(
        &mut self,
        node: NodeId,
        names: &PoolNames,
        value: &Value,
        now: u64,
    ) -> bool {
        let Value::Array(parts) = value else {
            return false;
        };
        let [Value::Int(0), Value::Int(2), Value::Int(left), ..] = parts.as_slice() else {
            return false;
        };
        let left = u64::try_from(*left).unwrap_or_default();
        let until = now + left.min(self.setup.quarantine_ms);
        if let Some(node) = self.nodes.get_mut(usize::from(node.0)) {
            node.in_quarantine(names.base(), until);
        }
        true
    }
}

/// Whether the reply says that the guard exists and the quarantine is over.
fn is_free(value: &Value) -> bool {
    let Value::Array(parts) = value else {
        return false;
    };
    matches!(
        parts.as_slice(),
        [Value::Int(0), Value::Int(0), Value::Int(-1), ..]
    )
}

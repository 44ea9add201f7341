//! Quarantine as the nodes' own guards have it.
//!
//! A node that came back empty begins its quarantine when its guard is next looked
//! at: that is done as soon as it is there again, not when it is first asked for a
//! vote.

use std::rc::Rc;

use openai_core::redlock::{ErrorKind, NodeId, NodeSet, PoolNames, Script, ScriptCall, Value};

use super::{Group, Order};
use crate::call::by_digest;
use crate::transport::Transport;

/// What the guards of a pool tell of it.
#[derive(Clone, Copy)]
pub(super) enum Sight {
    /// These nodes have never heard of it, or have forgotten it.
    Unsure(NodeSet),
    /// No node of a quorum has heard of it, and none knows it: with `bootstrap`,
    /// nobody has had a lock yet, and there is nothing to wait for. These nodes
    /// have been told so.
    New(NodeSet),
    /// Locks may have been taken.
    Known,
}

impl<T: Transport> Group<T> {
    /// Asks a node that has come up what it knows: first of keys that are out, so that
    /// they are known when it has its first vote.
    pub fn greet(&mut self, node: NodeId, keys: Vec<(Rc<PoolNames>, Vec<String>)>) {
        for (names, keys) in keys {
            self.recall(node, &names, &keys);
        }
        self.see_guards(node);
    }

    /// Looks at the guards of a node that has come up, one for each pool.
    fn see_guards(&mut self, node: NodeId) {
        for names in self.setup.pools.clone() {
            self.see_guard(node, &names, false);
        }
    }

    pub(super) fn see_guard(&mut self, node: NodeId, names: &Rc<PoolNames>, bootstrap: bool) {
        let call = Rc::new(self.look_at_guard(names, bootstrap));
        let packed = by_digest(&call);
        let _ = self.send(node, &packed, Order::Guard(Rc::clone(names), call));
    }

    /// A proposal without candidates.
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

    /// What a node's guard has told.
    pub(super) fn heard_of_guard(
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

    /// Looks again at the guards of nodes in quarantine, which another worker may
    /// have opened meanwhile.
    pub(super) fn see_closed_guards(&mut self, now: u64) {
        for names in self.setup.pools.clone() {
            for node in self.quorum.all().iter() {
                let at = usize::from(node.0);
                if self
                    .nodes
                    .get(at)
                    .is_some_and(|n| n.is_confined(names.base(), now))
                {
                    self.see_guard(node, &names, false);
                }
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
                // Or another worker has seen that it is new, and is opening them.
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

    /// Notes for how long a node grants nothing, if that is what it says.
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

/// Whether a node would grant: its guard is there, and open.
fn is_free(value: &Value) -> bool {
    let Value::Array(parts) = value else {
        return false;
    };
    matches!(
        parts.as_slice(),
        [Value::Int(0), Value::Int(0), Value::Int(-1), ..]
    )
}

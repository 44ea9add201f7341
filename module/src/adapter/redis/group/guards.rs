//! Quarantine as the nodes' own guards have it.
//!
//! A node that came back empty begins its quarantine when its guard is next looked
//! at: that is done as soon as it is there again, not when it is first asked for a
//! vote.

use std::rc::Rc;

use openai_core::redlock::{NodeId, PoolNames, Script, ScriptCall, Value};

use super::super::call::by_digest;
use super::{Group, Order};

impl Group {
    /// Looks at the guards of a node that has come up, one for each pool.
    pub(super) fn see_guards(&mut self, node: NodeId) {
        let pools = self.setup.pools.clone();
        for names in pools {
            let call = Rc::new(self.look_at_guard(&names));
            let packed = by_digest(&call);
            let _ = self.send(node, &packed, Order::Guard(names, call));
        }
    }

    /// A proposal without candidates: it ends at the guard, or in an error after.
    fn look_at_guard(&self, names: &PoolNames) -> ScriptCall {
        let bootstrap = u8::from(self.is_first(names)).to_string();
        let quarantine = self.setup.quarantine_ms.to_string();
        let unused = String::new;
        ScriptCall {
            script: Script::Acquire,
            keys: vec![names.guard(), names.meta(), names.fences()],
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

    /// What an answer to a proposal says of the node's guard.
    pub(super) fn heard_of_guard(
        &mut self,
        node: NodeId,
        names: &PoolNames,
        value: &Value,
        now: u64,
    ) {
        let Value::Array(parts) = value else { return };
        let [Value::Int(0), Value::Int(2), Value::Int(left), ..] = parts.as_slice() else {
            return;
        };
        let left = u64::try_from(*left).unwrap_or_default();
        let until = now + left.min(self.setup.quarantine_ms);
        if let Some(node) = self.nodes.get_mut(usize::from(node.0)) {
            node.in_quarantine(names.base(), until);
        }
    }
}

//! Keys that are out: this machine's word to others, and theirs.

use std::rc::Rc;

use openai_core::redlock::{CoolDown, MAX_RECALLED, NodeId, PoolNames, Value};

use super::{Group, GroupEvent, Order};
use crate::call::by_digest;
use crate::transport::Transport;

/// How often a node is asked that cannot tell by itself.
const ASK_MS: u64 = 2_000;

impl<T: Transport> Group<T> {
    /// Tells other machines that a key is out.
    pub fn announce_cool_down(&mut self, names: &PoolNames, key: &str, cool_down: CoolDown) {
        let call = Rc::new(cool_down.note(key, names));
        let packed = by_digest(&call);
        for node in self.quorum.all().iter() {
            let _ = self.send(node, &packed, Order::Stray(Rc::clone(&call)));
        }
    }

    /// Asks a node which of the keys are out.
    pub fn recall(&mut self, node: NodeId, names: &Rc<PoolNames>, keys: &[String]) {
        for keys in keys.chunks(MAX_RECALLED) {
            let packed = by_digest(&CoolDown::recall(keys, names));
            let _ = self.send(node, &packed, Order::Recall(Rc::clone(names), keys.into()));
        }
    }

    /// The nodes that can be asked.
    pub fn open_nodes(&self) -> Vec<NodeId> {
        let open = |id: &NodeId| {
            let node = self.nodes.get(usize::from(id.0));
            node.is_some_and(|node| node.is_open())
        };
        self.quorum.all().iter().filter(open).collect()
    }

    /// The nodes to be asked by now, since they send no messages.
    pub fn silent_nodes(&mut self, now: u64) -> Vec<NodeId> {
        if now < self.ask_at {
            return Vec::new();
        }
        self.ask_at = now + ASK_MS;
        let silent = |id: &NodeId| {
            let node = self.nodes.get(usize::from(id.0));
            node.is_some_and(|node| node.is_open() && !node.sends_messages())
        };
        self.quorum.all().iter().filter(silent).collect()
    }

    /// Whether a message is word of a key that is out.
    pub(super) fn is_cool_down_message(
        &self,
        channel: &[u8],
        text: &[u8],
        done: &mut Vec<GroupEvent>,
    ) -> bool {
        let pools = &self.setup.pools;
        let Some(names) = pools.iter().find(|n| n.cool_downs().as_bytes() == channel) else {
            return false;
        };
        done.extend(
            CoolDown::told(text).map(|(key, cool_down)| GroupEvent::CoolingDown {
                names: Rc::clone(names),
                key: key.to_owned(),
                cool_down,
            }),
        );
        true
    }
}

/// What a node has told of keys that are out.
pub(super) fn recalled(
    names: &Rc<PoolNames>,
    keys: &[String],
    value: &Value,
    done: &mut Vec<GroupEvent>,
) {
    for (at, cool_down) in CoolDown::recalled(value, keys.len()) {
        done.push(GroupEvent::CoolingDown {
            names: Rc::clone(names),
            key: keys[at].clone(),
            cool_down,
        });
    }
}

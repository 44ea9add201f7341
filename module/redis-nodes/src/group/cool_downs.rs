//! Cool-downs of keys, shared between machines.

use std::rc::Rc;

use openai_core::redlock::{CoolDown, MAX_RECALLED, NodeId, NodeSet, PoolNames, Value};

use super::{Group, GroupEvent, Order};
use crate::node::Node;
use crate::transport::Transport;

/// How often a node that cannot push messages is asked.
const ASK_MS: u64 = 2_000;

impl<T: Transport> Group<T> {
    /// Tells other machines that a key is cooling down.
    pub fn announce_cool_down(&mut self, names: &PoolNames, key: &str, cool_down: CoolDown) {
        let call = cool_down.note(key, names);
        self.send_call(self.quorum.all(), call, Order::Notice);
    }

    /// Asks a node which of these keys are cooling down. The reply becomes
    /// [`GroupEvent::CoolingDown`] events.
    pub fn recall(&mut self, node: NodeId, names: &Rc<PoolNames>, keys: &[String]) {
        for keys in keys.chunks(MAX_RECALLED) {
            let call = CoolDown::recall(keys, names);
            self.send_call(NodeSet::only(node), call, |call| {
                Order::Recall(Rc::clone(names), keys.into(), call)
            });
        }
    }

    /// The nodes that commands can be sent to.
    pub fn open_nodes(&self) -> Vec<NodeId> {
        self.those(Node::is_open).iter().collect()
    }

    /// The nodes to ask now because they cannot push messages; none if they were asked recently.
    pub fn silent_nodes(&mut self, now: u64) -> Vec<NodeId> {
        if now < self.ask_at {
            return Vec::new();
        }
        self.ask_at = now + ASK_MS;
        let silent = self.those(|node| node.is_open() && !node.sends_messages());
        silent.iter().collect()
    }

    /// Handles a message about a cool-down. `false` if the message is about something else.
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
            CoolDown::of_message(text).map(|(key, cool_down)| GroupEvent::CoolingDown {
                names: Rc::clone(names),
                key: key.to_owned(),
                cool_down,
            }),
        );
        true
    }
}

/// Turns the reply to [`Group::recall`] into events.
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

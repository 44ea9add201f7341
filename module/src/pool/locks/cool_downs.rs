//! Cool-downs of keys that machines tell each other through the nodes.

use std::rc::Rc;

use nginx_safe::Level;
use openai_core::lease::{Cause, KeyChange};
use openai_core::redlock::{CoolDown, NodeId, PoolNames};
use rustc_hash::FxHashMap;
use serde_json::json;

use super::{LOCKS, LockedKey, with};
use crate::pool::in_zone;
use crate::pool::nodes::clock;
use crate::telemetry::{event, now};

impl LockedKey {
    fn key_id(&self) -> Option<&str> {
        let (id, _) = self.slots.first()?.slot.field().rsplit_once(':')?;
        Some(id)
    }
}

/// Announces a cool-down to other machines, if the key belongs to a Redlock pool.
pub fn announce_cool_down(key: u32, cause: Cause, failures: u32, until_ms: u64) {
    let locked_key = LOCKS.with(|locks| locks.try_borrow().ok()?.locked_keys.get(&key).cloned());
    let Some(locked_key) = locked_key else { return };
    let cool_down = CoolDown {
        cause,
        failures,
        left_ms: until_ms.saturating_sub(now().mono_ms).max(1),
    };
    with(locked_key.group, |member, _, _| {
        if let Some(id) = locked_key.key_id() {
            member
                .group
                .announce_cool_down(&locked_key.names, id, cool_down);
        }
    });
}

/// Asks a newly connected node which keys are cooling down.
pub(super) fn greet(group: usize, node: NodeId) {
    let keys = keys_of(group);
    with(group, |member, _, _| member.group.greet(node, keys));
}

/// Asks the nodes that cannot send messages by themselves.
pub(super) fn ask_silent_nodes(group: usize) {
    let silent = with(group, |member, _, _| member.group.silent_nodes(clock()));
    ask(group, silent.unwrap_or_default());
}

/// Asks all connected nodes, after the list of keys has changed.
pub(super) fn ask_all_nodes(group: usize) {
    let all = with(group, |member, _, _| member.group.open_nodes());
    ask(group, all.unwrap_or_default());
}

fn ask(group: usize, nodes: Vec<NodeId>) {
    for node in nodes {
        let keys = keys_of(group);
        with(group, |member, _, _| {
            for (names, keys) in &keys {
                member.group.recall(node, names, keys);
            }
        });
    }
}

/// Ids of all keys that are locked on the nodes of a group, by pool.
fn keys_of(group: usize) -> Vec<(Rc<PoolNames>, Vec<String>)> {
    LOCKS.with_borrow(|locks| {
        let mut pools: FxHashMap<usize, (Rc<PoolNames>, Vec<String>)> = FxHashMap::default();
        for locked_key in locks
            .locked_keys
            .values()
            .filter(|locked_key| locked_key.group == group)
        {
            let pool = pools.entry(locked_key.pool);
            let (_, keys) = pool.or_insert_with(|| (Rc::clone(&locked_key.names), Vec::new()));
            keys.extend(locked_key.key_id().map(str::to_owned));
        }
        pools.into_values().collect()
    })
}

/// Applies a cool-down that a node reports.
pub(super) fn received(names: &PoolNames, id: &str, cool_down: CoolDown) {
    let name = [names.base(), id, ":0"].concat();
    let Some((key, _)) = LOCKS.with_borrow(|locks| locks.named.get(&name).copied()) else {
        return;
    };
    let CoolDown {
        cause,
        failures,
        left_ms,
    } = cool_down;
    let now = now();
    let until_ms = now.mono_ms.saturating_add(left_ms);
    let turn = in_zone(|zone| zone.learn_cool_down(key, cause, failures, until_ms, now));
    if let Some(Some(KeyChange::CoolingDown { .. })) = turn {
        let fields = json!({
            "pool": names.pool(),
            "key_id": id,
            "cause": cause.as_str(),
            "for_ms": left_ms,
            "failures": failures,
            "reported": true,
        });
        event(Level::Warn, "key_cooling_down", fields);
    }
}

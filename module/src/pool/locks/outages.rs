//! Keys that are out, on this machine or as others have told.

use std::rc::Rc;

use nginx_safe::Level;
use openai_core::lease::{Cause, Turn};
use openai_core::redlock::{NodeId, Outage, PoolNames};
use rustc_hash::FxHashMap;
use serde_json::json;

use super::{LOCKS, Place, with};
use crate::pool::in_zone;
use crate::pool::nodes::clock;
use crate::telemetry::{event, now};

impl Place {
    fn key_id(&self) -> Option<&str> {
        let (id, _) = self.slots.first()?.slot.field().rsplit_once(':')?;
        Some(id)
    }
}

/// Tells other machines that a key is out, if its pool is on several.
pub fn put_out(key: u32, cause: Cause, failures: u32, until_ms: u64) {
    let place = LOCKS.with(|locks| locks.try_borrow().ok()?.places.get(&key).cloned());
    let Some(place) = place else { return };
    let outage = Outage {
        cause,
        failures,
        left_ms: until_ms.saturating_sub(now().mono_ms).max(1),
    };
    with(place.group, |member, _, _| {
        if let Some(id) = place.key_id() {
            member.group.put_out(&place.names, id, outage);
        }
    });
}

/// A node is there: it may know of keys that are out.
pub(super) fn greet(group: usize, node: NodeId) {
    let keys = keys_of(group);
    with(group, |member, _, _| member.group.greet(node, keys));
}

/// Asks nodes that cannot tell by themselves.
pub(super) fn ask_silent_nodes(group: usize) {
    let silent = with(group, |member, _, _| member.group.silent_nodes(clock()));
    ask(group, silent.unwrap_or_default());
}

/// Asks all nodes: there are keys that they have not been asked for.
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

/// The ids of all keys that are locked on a group, by their pools.
fn keys_of(group: usize) -> Vec<(Rc<PoolNames>, Vec<String>)> {
    LOCKS.with_borrow(|locks| {
        let mut pools: FxHashMap<usize, (Rc<PoolNames>, Vec<String>)> = FxHashMap::default();
        for place in locks.places.values().filter(|place| place.group == group) {
            let pool = pools.entry(place.pool);
            let (_, keys) = pool.or_insert_with(|| (Rc::clone(&place.names), Vec::new()));
            keys.extend(place.key_id().map(str::to_owned));
        }
        pools.into_values().collect()
    })
}

/// A node says that a key is out.
pub(super) fn heard(names: &PoolNames, id: &str, outage: Outage) {
    let name = [names.base(), id, ":0"].concat();
    let Some((key, _)) = LOCKS.with_borrow(|locks| locks.named.get(&name).copied()) else {
        return;
    };
    let Outage {
        cause,
        failures,
        left_ms,
    } = outage;
    let now = now();
    let until_ms = now.mono_ms.saturating_add(left_ms);
    let turn = in_zone(|zone| zone.put_out(key, cause, failures, until_ms, now));
    if let Some(Some(Turn::Out { .. })) = turn {
        let fields = json!({
            "pool": names.pool(),
            "key_id": id,
            "cause": cause.as_str(),
            "for_ms": left_ms,
            "failures": failures,
            "told": true,
        });
        event(Level::Warn, "key_out", fields);
    }
}

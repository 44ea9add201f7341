//! Helpers for commands, and the state of a node.

use std::collections::BTreeMap;

use openai_core::redlock::{
    Candidates, Command, Enlist, Fence, Holder, Nonce, PoolNames, Priority, Proposal,
    ReleaseCommand, RenewCommand, Slot, SlotLock,
};

use crate::model::Store;
use crate::server::Connection;

pub const LONG: u64 = 60_000;

pub fn names() -> PoolNames {
    PoolNames::new("t:", "p").unwrap()
}

pub fn slot(ordinal: u32) -> Slot {
    Slot::new("k", ordinal).unwrap()
}

pub fn fence(number: u64) -> Fence {
    Fence::new(number).unwrap()
}

pub fn proposal(slots: Vec<Slot>, nonce: u128, number: u64) -> Proposal {
    Proposal {
        candidates: Candidates::in_order(slots).unwrap(),
        nonce: Nonce(nonce),
        ttl_ms: LONG,
        fence: fence(number),
        holder: Holder::new("owner", "a request", 1_700_000_000_000),
        quarantine_ms: 0,
        bootstrap: false,
    }
}

pub fn acquire(slots: &[u32], nonce: u128, number: u64) -> Command {
    let slots = slots.iter().map(|&ordinal| slot(ordinal)).collect();
    Command::Acquire(proposal(slots, nonce, number).into())
}

pub fn release(slots: &[u32], nonce: u128) -> Command {
    ending(slots, nonce, None)
}

pub fn ending(slots: &[u32], nonce: u128, ends: Option<u64>) -> Command {
    Command::Release(ReleaseCommand {
        slots: slots.iter().map(|&ordinal| slot(ordinal)).collect(),
        nonce: Nonce(nonce),
        ends: ends.map(fence),
    })
}

pub fn renew(leases: &[(u32, u128, u64)], ttl_ms: u64) -> Command {
    let lease = |&(ordinal, nonce, number): &(u32, u128, u64)| SlotLock {
        slot: slot(ordinal),
        nonce: Nonce(nonce),
        fence: fence(number),
        deadline_ms: 0,
    };
    Command::Renew(RenewCommand {
        leases: leases.iter().map(lease).collect(),
        ttl_ms,
    })
}

pub fn enqueue(ticket: u64, priority: i32, wait_ms: u64) -> Command {
    let priority = Priority::nearest(priority);
    Command::Enqueue(Enlist::new("host-1", ticket, priority, wait_ms).unwrap())
}

/// The state of a node for a pool, without times.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Memory {
    locks: BTreeMap<String, String>,
    fences: BTreeMap<String, String>,
    ends: BTreeMap<String, String>,
    guarded: bool,
    queue: Vec<String>,
}

impl Memory {
    pub fn of_node(node: &mut Connection) -> Self {
        let names = names();
        let prefix = names.lock(&slot(0)).replace("k:0", "");
        let mut locks = BTreeMap::new();
        for key in node.texts(&["KEYS", &format!("{prefix}*")]) {
            if let Some(nonce) = node.texts(&["GET", &key]).pop() {
                locks.insert(key[prefix.len()..].to_owned(), nonce);
            }
        }
        let pair = |pair: &[String]| (pair[0].clone(), pair[1].clone());
        let mut scores = |key: &str| {
            let pairs = node.texts(&["ZRANGE", key, "0", "-1", "WITHSCORES"]);
            pairs.chunks(2).map(pair).collect()
        };
        Self {
            locks,
            fences: scores(&names.fences()),
            ends: scores(&names.ends()),
            guarded: !node.texts(&["GET", &names.guard()]).is_empty(),
            queue: node.texts(&["ZRANGE", &names.queue(), "0", "-1"]),
        }
    }

    pub fn of_model(store: &Store, now: u64) -> Self {
        let live = store.locks.iter().filter(|(_, lock)| lock.until >= now);
        let mut queue: Vec<_> = store.queue.iter().map(|(name, at)| (at.0, name)).collect();
        queue.sort_unstable();
        let number = |(field, fence): (&String, &u64)| (field.clone(), fence.to_string());
        Self {
            locks: live
                .map(|(field, lock)| (field.clone(), lock.meta.clone()))
                .collect(),
            fences: store.fences.iter().map(number).collect(),
            ends: store.ends.iter().map(number).collect(),
            guarded: store.guard.is_some(),
            queue: queue.into_iter().map(|(_, name)| name.clone()).collect(),
        }
    }
}

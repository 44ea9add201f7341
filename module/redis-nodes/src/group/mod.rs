//! A group of nodes: attempts, locks to prolong and to give back, an entry in the queue
//! of all machines.

mod attempts;
mod cool_downs;
mod guards;
mod inputs;
mod outcome;
mod queue;
mod renewals;
mod timeouts;
mod unlocks;
mod wire;

use std::rc::Rc;

use openai_core::lease::LeaseHandle;
use openai_core::redlock::{
    Acquire, Candidates, FenceClock, NodeId, NodeSet, Nonce, Operation, PoolNames, Quorum, Release,
    ReleaseCommand, Renewal, ScriptCall,
};
use rand::RngCore;
use rand::rngs::StdRng;
use rustc_hash::{FxHashMap, FxHashSet};
use slotmap::{SlotMap, new_key_type};

use crate::call::by_digest;
use crate::commands::{self, SlotCommands};
use crate::node::{Node, NodeReport, Rules};
use crate::transport::Transport;

pub use inputs::{GiveBack, LockRequest, Setup};
pub use outcome::{Counts, GroupEvent, Kept};

new_key_type! {
    /// Names an attempt to take a lock.
    pub struct AttemptKey;
    struct UnlockKey;
    struct RenewalKey;
}

/// A command that is under way.
struct Sent {
    order: Order,
    /// Whether it carried the script's text.
    in_full: bool,
}

#[derive(Clone)]
enum Order {
    Acquire(AttemptKey),
    Unlock(UnlockKey, Rc<SlotCommands>, GiveBack),
    Renew(RenewalKey),
    Stray(Rc<ScriptCall>),
    Enqueue(Rc<PoolNames>, Rc<ScriptCall>),
    /// Whether the node's guard lets it vote.
    Guard(Rc<PoolNames>, Rc<ScriptCall>),
    /// Which of these keys are out.
    Recall(Rc<PoolNames>, Rc<[String]>),
    Share(Rc<ScriptCall>),
}

struct Attempting {
    acquire: Acquire,
    attempt: LockRequest,
    candidates: Candidates,
    /// None when plain commands were sent.
    call: Option<Rc<ScriptCall>>,
    nonce: Nonce,
    /// Whether a node was unsure.
    unsure: bool,
    won: bool,
    due: u64,
}

struct Unlocking {
    release: Release,
    handle: LeaseHandle,
    settles: bool,
    /// The nodes that have told a waiter of another machine.
    for_others: NodeSet,
    due: u64,
}

struct Renewing {
    renewal: Renewal,
    of: Purpose,
    /// How many leases nodes are asked about: those that had not ended before.
    asked: usize,
    call: Rc<ScriptCall>,
    due: u64,
}

/// For whom locks are prolonged.
enum Purpose {
    /// For the leases that have them.
    Leases(Vec<LeaseHandle>),
    /// For somebody who waits, or nobody: one lock.
    Operation(Operation),
}

/// A group of nodes, as one worker is connected to it.
pub struct Group<T: Transport> {
    transport: T,
    setup: Setup<T::Target>,
    quorum: Quorum,
    nodes: Vec<Node<T, Sent>>,
    attempts: SlotMap<AttemptKey, Attempting>,
    unlocks: SlotMap<UnlockKey, Unlocking>,
    renewals: SlotMap<RenewalKey, Renewing>,
    fence: FenceClock,
    /// Locks that were won and that a node may yet take up, by their nonces.
    unheard: FxHashSet<u128>,
    queues: Vec<queue::Entry>,
    woken: FxHashMap<(usize, String), NodeSet>,
    width: attempts::Width,
    /// Whether to ask by script, which tells more.
    careful: bool,
    /// Whether a node is too old for the plain commands (before Redis 6.2).
    scripts_only: bool,
    /// What has been packed last.
    packed: Vec<u8>,
    /// What the guards of each pool tell, by the beginning of the pool's names.
    sights: FxHashMap<String, guards::Sight>,
    /// When nodes that send no messages are asked next.
    ask_at: u64,
    /// Counts of attempts.
    pub counts: Counts,
    random: StdRng,
    timeout_set: bool,
}

impl<T: Transport> Group<T> {
    /// A group without connections; [`Group::tend`] makes them.
    pub fn new(mut setup: Setup<T::Target>, quorum: Quorum, random: StdRng, transport: T) -> Self {
        let channels = |names: &Rc<PoolNames>| {
            let wakes = names.wake_channel(&setup.instance).ok();
            wakes.into_iter().chain([names.cool_downs()])
        };
        let rules = Rules {
            timeout_ms: setup.timeout_ms,
            quarantine_ms: setup.quarantine_ms,
            bootstrap: setup.bootstrap,
            channels: setup.pools.iter().flat_map(channels).collect(),
            check: commands::check(&setup.pools),
        };
        let targets = std::mem::take(&mut setup.nodes);
        let node = |(at, target)| Node::new(NodeId(at), target, rules.clone());
        Self {
            nodes: (0..).zip(targets).map(node).collect(),
            transport,
            queues: vec![],
            woken: FxHashMap::default(),
            width: attempts::Width::default(),
            careful: false,
            scripts_only: false,
            packed: vec![],
            setup,
            quorum,
            attempts: SlotMap::with_key(),
            unlocks: SlotMap::with_key(),
            renewals: SlotMap::with_key(),
            fence: FenceClock::default(),
            unheard: FxHashSet::default(),
            sights: FxHashMap::default(),
            ask_at: 0,
            counts: Counts::default(),
            random,
            timeout_set: false,
        }
    }

    /// The nodes to ask. Suspects only when there are too few without them: it may
    /// be this machine that is slow.
    fn voters(&self, pool: &str, now: u64) -> NodeSet {
        let those = |votes: fn(&Node<T, Sent>, &str, u64) -> bool| -> NodeSet {
            let nodes = self.nodes.iter().enumerate();
            nodes
                .filter(|(_, node)| votes(node, pool, now))
                .map(|(at, _)| NodeId(at as u8))
                .collect()
        };
        let prompt = those(Node::votes);
        if prompt.len() >= self.quorum.needed() {
            return prompt;
        }
        those(Node::may_vote)
    }

    /// Nodes that can be asked to keep what they have: in quarantine, too.
    fn keepers(&self) -> NodeSet {
        let open = |(_, node): &(usize, &Node<T, Sent>)| node.is_open();
        self.nodes
            .iter()
            .enumerate()
            .filter(open)
            .map(|(at, _)| NodeId(at as u8))
            .collect()
    }

    /// How each node does, for a pool.
    pub fn reports(&self, names: &PoolNames, now: u64) -> impl Iterator<Item = NodeReport<'_>> {
        self.nodes
            .iter()
            .map(move |node| node.report(names.base(), now))
    }

    /// An event of a node's connection.
    pub fn node_event(&mut self, node: usize, now: u64, done: &mut Vec<GroupEvent>) {
        let mut heard = vec![];
        if let Some(node) = self.nodes.get_mut(node) {
            node.arrived(now, &mut self.transport, &mut heard);
        }
        self.hear(node, heard, now, done);
    }

    /// Sends what has been pushed in this turn of the event loop.
    pub fn flush(&mut self, now: u64, done: &mut Vec<GroupEvent>) {
        for at in 0..self.nodes.len() {
            let mut heard = vec![];
            self.nodes[at].flush(now, &mut self.transport, &mut heard);
            self.hear(at, heard, now, done);
        }
    }

    /// Keeps connections up; to be called now and then.
    pub fn tend(&mut self, now: u64, done: &mut Vec<GroupEvent>) {
        self.see_closed_guards(now);
        for at in 0..self.nodes.len() {
            let mut heard = vec![];
            let random = self.random.next_u64();
            self.nodes[at].tend(now, random, &mut self.transport, &mut heard);
            self.hear(at, heard, now, done);
        }
    }

    /// Gives back what may yet be granted. No answer will be heard any more.
    pub fn end(&mut self, now: u64, done: &mut Vec<GroupEvent>) {
        let open = self.attempts.values().filter(|a| !a.won).map(|a| {
            let slots = a.candidates.slots().into();
            (
                Rc::clone(&a.attempt.names),
                ReleaseCommand {
                    slots,
                    nonce: a.nonce,
                    ends: None,
                },
            )
        });
        let open: Vec<_> = open.collect();
        for (names, command) in open {
            self.give_back(self.quorum.all(), command, &names);
        }
        self.flush(now, done);
    }

    /// Asks a node about totals that machines share; whether it can be asked.
    pub fn share(&mut self, node: NodeId, call: ScriptCall) -> bool {
        let packed = by_digest(&call);
        self.send(node, &packed, Order::Share(Rc::new(call)))
            .is_ok()
    }

    /// What a node is called in logs.
    pub fn node_name(&self, node: NodeId) -> &str {
        let node = self.nodes.get(usize::from(node.0));
        node.map_or("", |node| node.name())
    }
}

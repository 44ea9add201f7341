//! A group of nodes: attempts to take locks, renewals and releases, and this machine's entries in
//! the queues.

mod attempts;
mod cool_downs;
mod guards;
mod inputs;
mod missed;
mod outcome;
mod queue;
mod renewals;
mod timeouts;
mod unlocks;
mod wire;

use std::rc::Rc;

use openai_core::lease::LeaseHandle;
use openai_core::redlock::{
    Acquisition, Candidates, FenceClock, Holder, NodeId, NodeSet, Nonce, PoolNames, Quorum,
    ReleaseCommand, Renewal, ScriptCall, Unlock,
};
use rand::RngCore;
use rand::rngs::StdRng;
use rustc_hash::{FxHashMap, FxHashSet};
use slotmap::{SlotMap, new_key_type};

use crate::call::by_digest;
use crate::commands::{self, SlotCommands};
use crate::node::{Heard, Node, NodeReport, Rules};
use crate::transport::Transport;
use missed::Missed;

pub use inputs::{GiveBack, LockRequest, Setup};
pub use outcome::{GroupCounts, GroupEvent, Kept};

new_key_type! {
    struct AttemptKey;
    /// Identifies an operation on a lock. There can be several on one lock at the same time, and
    /// replies to one must not complete another.
    pub struct Operation;
    struct UnlockKey;
    struct RenewalKey;
}

/// A command whose reply is outstanding.
struct Sent {
    order: Order,
    /// Whether the command contains the script's text.
    in_full: bool,
}

#[derive(Clone)]
enum Order {
    Acquire(AttemptKey),
    Unlock(UnlockKey, Rc<SlotCommands>, GiveBack),
    Renew(RenewalKey),
    /// Releases locks that belong to no lease; the reply is ignored.
    GiveBack(Rc<ScriptCall>),
    /// A cool-down, or the removal of a queue entry; the reply is ignored.
    Notice(Rc<ScriptCall>),
    Enqueue(Rc<PoolNames>, Rc<ScriptCall>),
    /// Reads a guard of the node.
    Guard(Rc<PoolNames>, Rc<ScriptCall>),
    /// Asks which of these keys are cooling down.
    Recall(Rc<PoolNames>, Rc<[String]>, Rc<ScriptCall>),
    Share(Rc<ScriptCall>),
}

struct Attempting {
    acquire: Acquisition,
    attempt: LockRequest,
    candidates: Candidates,
    /// `None` if plain commands were sent.
    call: Option<Rc<ScriptCall>>,
    nonce: Nonce,
    /// Whether a node's reply left open why it did not grant the lock.
    unsure: bool,
    won: bool,
    due: u64,
}

struct Unlocking {
    release: Unlock,
    handle: LeaseHandle,
    settles: bool,
    /// The nodes that have notified a waiter on another machine.
    for_others: NodeSet,
    due: u64,
}

struct Renewing {
    renewal: Renewal,
    of: Purpose,
    /// The number of locks in the command: those that had not expired before.
    asked: usize,
    call: Rc<ScriptCall>,
    due: u64,
}

/// What a renewal is for.
enum Purpose {
    /// The locks of these leases.
    Leases(Vec<LeaseHandle>),
    /// One lock, for a call of [`Group::keep_for`].
    Operation(Operation),
}

/// A group of nodes, with the connections of one worker to them.
pub struct Group<T: Transport> {
    transport: T,
    setup: Setup<T::Target>,
    quorum: Quorum,
    nodes: Vec<Node<T, Sent>>,
    /// For each node, the releases that it has missed.
    missed: Vec<Missed>,
    attempts: SlotMap<AttemptKey, Attempting>,
    deferred: Vec<attempts::Deferred>,
    unlocks: SlotMap<UnlockKey, Unlocking>,
    /// The owner of this worker's locks.
    holder: Holder,
    renewals: SlotMap<RenewalKey, Renewing>,
    fence: FenceClock,
    /// Nonces of acquired locks whose proposal some node may still process.
    unheard: FxHashSet<u128>,
    queues: Vec<queue::QueueEntry>,
    woken: FxHashMap<(usize, String), NodeSet>,
    width: attempts::Width,
    /// Whether attempts use the script, because a reply to plain commands did not say enough.
    careful: bool,
    /// Whether a node is too old for the plain commands (before Redis 6.2).
    scripts_only: bool,
    /// A buffer for packed commands.
    packed: Vec<u8>,
    /// A buffer for what nodes have sent.
    heard: Vec<Heard<Sent>>,
    /// What is known of the guards of each pool, by the prefix of the pool's names.
    sights: FxHashMap<String, guards::Sight>,
    /// When to ask nodes that cannot push messages again.
    ask_at: u64,
    /// Counters of attempts.
    pub counts: GroupCounts,
    random: StdRng,
    timeout_set: bool,
}

impl<T: Transport> Group<T> {
    /// Makes a group without connections; [`Group::tend`] establishes them.
    pub fn new(mut setup: Setup<T::Target>, quorum: Quorum, random: StdRng, transport: T) -> Self {
        let channels = |names: &Rc<PoolNames>| {
            let wakes = names.wake_channel(&setup.instance).ok();
            wakes.into_iter().chain([names.cool_downs()])
        };
        let rules = Rules {
            timeout_ms: setup.timeout_ms,
            quarantine_ms: setup.quarantine_ms,
            bootstrap: setup.bootstrap,
            drift: setup.drift,
            shortest_ttl_ms: setup.shortest_ttl_ms,
            channels: setup.pools.iter().flat_map(channels).collect(),
            check: commands::check(&setup.pools),
        };
        let targets = std::mem::take(&mut setup.nodes);
        let node = |(at, target)| Node::new(NodeId(at), target, rules.clone());
        Self {
            missed: targets.iter().map(|_| Missed::default()).collect(),
            nodes: (0..).zip(targets).map(node).collect(),
            transport,
            queues: vec![],
            woken: FxHashMap::default(),
            width: attempts::Width::default(),
            careful: false,
            scripts_only: false,
            packed: vec![],
            heard: vec![],
            holder: Holder::new(&setup.owner, "", 0),
            setup,
            quorum,
            attempts: SlotMap::with_key(),
            deferred: vec![],
            unlocks: SlotMap::with_key(),
            renewals: SlotMap::with_key(),
            fence: FenceClock::default(),
            unheard: FxHashSet::default(),
            sights: FxHashMap::default(),
            ask_at: 0,
            counts: GroupCounts::default(),
            random,
            timeout_set: false,
        }
    }

    /// The nodes for which `is_so` returns `true`.
    fn those(&self, is_so: impl Fn(&Node<T, Sent>) -> bool) -> NodeSet {
        let nodes = (0..).map(NodeId).zip(&self.nodes);
        let those = nodes.filter(|(_, node)| is_so(node));
        those.map(|(id, _)| id).collect()
    }

    /// The nodes to ask for a vote. Suspect nodes are only included if there is no quorum without
    /// them: this machine itself may be slow.
    fn voters(&self, pool: &str, now: u64) -> NodeSet {
        let prompt = self.those(|node| node.votes(pool, now));
        if prompt.len() >= self.quorum.needed() {
            return prompt;
        }
        self.those(|node| node.may_vote(pool, now))
    }

    /// A report of each node, for a pool.
    pub fn reports(&self, names: &PoolNames, now: u64) -> impl Iterator<Item = NodeReport<'_>> {
        self.nodes
            .iter()
            .map(move |node| node.report(names.base(), now))
    }

    /// Handles an event of a node's connection: it can be read or written, or has failed.
    pub fn node_event(&mut self, node: usize, now: u64, done: &mut Vec<GroupEvent>) {
        self.act_on(node, now, done, |node, transport, heard| {
            node.arrived(now, transport, heard);
        });
    }

    /// Starts postponed attempts, and sends all commands of this turn of the event loop.
    pub fn flush(&mut self, now: u64, done: &mut Vec<GroupEvent>) {
        self.make_deferred(now, done);
        for at in 0..self.nodes.len() {
            self.act_on(at, now, done, |node, transport, heard| {
                node.flush(now, transport, heard);
            });
        }
    }

    /// Maintains connections, checks nodes and sends missed releases. Call it periodically.
    pub fn tend(&mut self, now: u64, done: &mut Vec<GroupEvent>) {
        self.see_closed_guards(now);
        for at in 0..self.nodes.len() {
            let random = self.random.next_u64();
            self.act_on(at, now, done, |node, transport, heard| {
                node.tend(now, random, transport, heard);
            });
            self.catch_up(NodeId(at as u8));
        }
    }

    /// Releases all locks that nodes may still grant. Call it before the group is dropped; replies
    /// are not read any more.
    pub fn end(&mut self, now: u64, done: &mut Vec<GroupEvent>) {
        self.deferred.clear();
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

    /// Sends a call about shared stats to a node. `false` if it is not connected.
    pub fn share(&mut self, node: NodeId, call: ScriptCall) -> bool {
        let packed = by_digest(&call);
        self.send(node, &packed, 1, Order::Share(Rc::new(call)))
            .is_ok()
    }

    /// The name of a node in logs.
    pub fn node_name(&self, node: NodeId) -> &str {
        let node = self.nodes.get(usize::from(node.0));
        node.map_or("", |node| node.name())
    }
}

//! A group of nodes: attempts, locks to prolong and to give back, a place in the
//! queue of all machines.

mod attempts;
mod guards;
mod outages;
mod queue;
mod renewals;
mod timeouts;
mod unlocks;
mod wire;

use std::rc::Rc;

use nginx_safe::Timer;
use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{
    Acquire, Candidates, Drift, ErrorKind, Event, Fence, FenceClock, NodeId, NodeSet, Nonce,
    Operation, Outage, PoolNames, Quorum, Release, ReleaseCommand, ReleaseEvent, Renewal,
    RenewalEvent, RetryDelay, ScriptCall, Slot, Value, reply,
};
use rand::RngCore;
use rand::rngs::StdRng;
use rustc_hash::{FxHashMap, FxHashSet};
use slotmap::{SlotMap, new_key_type};

use super::call::{by_digest, in_full};
use super::commands::{self, SlotCommands};
use super::node::{Heard, Node, NodeReport, NodeTarget, Rules};
use outages::recalled;

new_key_type! {
    /// Names an attempt to take a lock.
    pub struct AttemptKey;
    struct UnlockKey;
    struct RenewalKey;
}

/// How a group is made.
pub struct Setup {
    pub nodes: Vec<NodeTarget>,
    pub timeout_ms: u64,
    pub drift: Drift,
    pub retry: RetryDelay,
    pub quarantine_ms: u64,
    pub bootstrap: bool,
    /// The pools that use it.
    pub pools: Vec<Rc<PoolNames>>,
    /// The name of this worker, as other machines see it on its locks.
    pub owner: String,
    /// The name of this machine's place in queues: the same for all its workers.
    pub instance: String,
    /// Called with `base` + node, and with `base` + [`TIMEOUT`] or [`WAKE`] when
    /// that is due.
    pub on_node: fn(u64),
    pub base: u64,
}

/// The argument, beside the nodes' numbers, of a due timeout.
pub const TIMEOUT: u64 = 0xff;
/// And of slots that some nodes say are free.
pub const WAKE: u64 = 0xfe;

/// What a lock is wanted for.
pub struct Attempt {
    pub names: Rc<PoolNames>,
    /// The slot of the lease.
    pub first: Rc<SlotCommands>,
    /// Others that would do.
    pub others: Vec<Slot>,
    /// Whether to ask by script, which tells more.
    pub by_script: bool,
    pub ttl_ms: u64,
    /// The lease of the first slot on this machine.
    pub handle: LeaseHandle,
    /// The fence of the last lock of that slot that is known here.
    pub last_fence: u64,
    /// Passed through.
    pub tag: u64,
}

/// A lock to be given back.
#[derive(Clone, Copy)]
pub struct GiveBack {
    pub lock: Lock,
    /// Whether nodes may yet be told to prolong it, by whomever.
    pub retold: bool,
    /// Whether somebody wants to hear when it is gone.
    pub settles: bool,
    /// The lease that it is of.
    pub handle: LeaseHandle,
}

impl GiveBack {
    /// The fence up to which nodes must put no lock back.
    fn ends(&self) -> Option<Fence> {
        Fence::new(self.lock.fence).filter(|_| self.retold)
    }
}

/// What nodes have answered to an operation on a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A majority keeps it, so that it is valid until then.
    Until(u64),
    /// Too few do.
    Refused,
    /// A majority says that it is another's.
    Lost,
}

/// What has come of something.
pub enum Outcome {
    Locked {
        tag: u64,
        handle: LeaseHandle,
        lock: Lock,
        /// Which of the slots.
        choice: usize,
        /// How many nodes had granted it by then.
        votes: u8,
    },
    /// It is held elsewhere, or the votes were split; worth trying again then.
    Busy {
        tag: u64,
        handle: LeaseHandle,
        wait_ms: u64,
    },
    /// Too little has been learnt; the next attempt will ask for more.
    Unsure {
        tag: u64,
        handle: LeaseHandle,
    },
    Unavailable {
        tag: u64,
        handle: LeaseHandle,
    },
    Unlocked {
        handle: LeaseHandle,
        /// Whether a waiter on another machine has been told.
        for_others: bool,
    },
    /// No node has it any more; comes later.
    Gone {
        handle: LeaseHandle,
    },
    /// Given up before it was decided.
    Abandoned {
        handle: LeaseHandle,
    },
    Prolonged {
        handle: LeaseHandle,
        deadline_ms: u64,
    },
    /// What has come of [`Group::keep_for`]; may come again.
    Concluded {
        operation: Operation,
        kept: Kept,
    },
    Lost {
        handle: LeaseHandle,
    },
    /// A node can be sent commands from now on; see [`Group::greet`].
    Opened {
        group: usize,
        node: NodeId,
    },
    /// A node says that a key is out.
    Out {
        names: Rc<PoolNames>,
        key: String,
        outage: Outage,
    },
    /// What a node says to a call of [`Group::share`].
    Shared {
        group: usize,
        node: NodeId,
        value: Value,
    },
    /// Another machine has given up a slot, and it is our turn.
    Freed {
        names: Rc<PoolNames>,
        field: String,
    },
}

/// What has come of attempts since the worker began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub locked: u64,
    pub handed_over: u64,
    pub busy: u64,
    pub no_quorum: u64,
    pub quarantine: u64,
    pub too_late: u64,
    pub abandoned: u64,
    pub lost: u64,
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
    attempt: Attempt,
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

pub struct Group {
    setup: Setup,
    quorum: Quorum,
    nodes: Vec<Node<Sent>>,
    attempts: SlotMap<AttemptKey, Attempting>,
    unlocks: SlotMap<UnlockKey, Unlocking>,
    renewals: SlotMap<RenewalKey, Renewing>,
    fence: FenceClock,
    /// Locks that were won and that a node may yet take up, by their nonces.
    unheard: FxHashSet<u128>,
    queues: Vec<queue::Place>,
    woken: FxHashMap<(usize, String), NodeSet>,
    wake: Timer,
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
    random: StdRng,
    pub counts: Counts,
    timeout: Timer,
    timeout_set: bool,
}

impl Group {
    pub fn new(setup: Setup, quorum: Quorum, random: StdRng) -> Self {
        let channels = |names: &Rc<PoolNames>| {
            let wakes = names.wake_channel(&setup.instance).ok();
            wakes.into_iter().chain([names.outages()])
        };
        let rules = Rules {
            timeout_ms: setup.timeout_ms,
            quarantine_ms: setup.quarantine_ms,
            bootstrap: setup.bootstrap,
            channels: setup.pools.iter().flat_map(channels).collect(),
            trial: commands::trial(&setup.pools),
        };
        let node = |(at, target): (usize, &NodeTarget)| {
            let argument = setup.base + at as u64;
            Node::new(target.clone(), rules.clone(), setup.on_node, argument)
        };
        Self {
            nodes: setup.nodes.iter().enumerate().map(node).collect(),
            timeout: Timer::new(true, setup.on_node, setup.base + TIMEOUT),
            wake: Timer::new(true, setup.on_node, setup.base + WAKE),
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
        let those = |votes: fn(&Node<Sent>, &str, u64) -> bool| -> NodeSet {
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
        let open = |(_, node): &(usize, &Node<Sent>)| node.is_open();
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
    pub fn node_event(&mut self, node: usize, now: u64, done: &mut Vec<Outcome>) {
        let mut heard = vec![];
        if let Some(node) = self.nodes.get_mut(node) {
            node.arrived(now, &mut heard);
        }
        self.hear(node, heard, now, done);
    }

    /// Sends what has been pushed in this turn of the event loop.
    pub fn flush(&mut self, now: u64, done: &mut Vec<Outcome>) {
        for at in 0..self.nodes.len() {
            let mut heard = vec![];
            self.nodes[at].flush(now, &mut heard);
            self.hear(at, heard, now, done);
        }
    }

    /// Keeps connections up; to be called now and then.
    pub fn tend(&mut self, now: u64, done: &mut Vec<Outcome>) {
        self.see_closed_guards(now);
        for at in 0..self.nodes.len() {
            let mut heard = vec![];
            let random = self.random.next_u64();
            self.nodes[at].tend(now, random, &mut heard);
            self.hear(at, heard, now, done);
        }
    }

    /// Gives back what may yet be granted. No answer will be heard any more.
    pub fn end(&mut self, now: u64, done: &mut Vec<Outcome>) {
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

    fn number(&self) -> usize {
        (self.setup.base >> 8) as usize
    }

    /// Asks a node about totals that machines share; whether it can be asked.
    pub fn share(&mut self, node: NodeId, call: ScriptCall) -> bool {
        let packed = by_digest(&call);
        self.send(node, &packed, Order::Share(Rc::new(call)))
            .is_ok()
    }

    /// What a node is called in logs.
    pub fn node_name(&self, node: NodeId) -> &str {
        let target = self.setup.nodes.get(usize::from(node.0));
        target.map_or("", |target| &target.name)
    }
}

//! A group of nodes: attempts, locks to prolong and locks to give back.

use std::collections::HashSet;
use std::rc::Rc;

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{
    Acquire, Action, Candidates, Command, Drift, ErrorKind, Event, Failure, FenceClock, Holder,
    Lease, NodeId, NodeSet, Nonce, PoolNames, Proposal, Quorum, Release, ReleaseAction,
    ReleaseCommand, ReleaseEvent, Renewal, RenewalAction, RenewalEvent, RetryDelay, ScriptCall,
    Slot, Timing, Value, reply,
};
use rand::RngCore;
use rand::rngs::StdRng;
use slotmap::{SlotMap, new_key_type};

use super::call::{by_digest, in_full};
use super::node::{Heard, Node, NodeReport, NodeTarget};
use crate::ffi::Timer;

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
    /// The name of this worker, as other machines see it on its locks.
    pub owner: String,
    /// Called with `base` + node, and with `base` + [`TIMEOUT`] when a timeout is due.
    pub on_node: fn(u64),
    pub base: u64,
}

/// The argument, beside the nodes' numbers, of a due timeout.
pub const TIMEOUT: u64 = 0xff;

/// What a lock is wanted for.
pub struct Attempt {
    pub names: Rc<PoolNames>,
    pub slot: Slot,
    pub ttl_ms: u64,
    /// The lease of the slot on this machine.
    pub handle: LeaseHandle,
    /// Passed through.
    pub tag: u64,
}

/// What has come of something.
pub enum Outcome {
    Locked {
        tag: u64,
        handle: LeaseHandle,
        lock: Lock,
    },
    /// It is held elsewhere, or the votes were split; worth trying again then.
    Busy {
        tag: u64,
        handle: LeaseHandle,
        wait_ms: u64,
    },
    Unavailable {
        tag: u64,
        handle: LeaseHandle,
    },
    Unlocked {
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
    Lost {
        handle: LeaseHandle,
    },
}

#[derive(Clone)]
enum Order {
    Acquire(AttemptKey),
    Unlock(UnlockKey, Rc<ScriptCall>),
    Renew(RenewalKey),
    Stray(Rc<ScriptCall>),
}

struct Attempting {
    acquire: Acquire,
    attempt: Attempt,
    candidates: Candidates,
    call: Rc<ScriptCall>,
    due: u64,
}

struct Unlocking {
    release: Release,
    handle: LeaseHandle,
    due: u64,
}

struct Renewing {
    renewal: Renewal,
    handles: Vec<LeaseHandle>,
    /// How many leases nodes are asked about: those that had not ended before.
    asked: usize,
    call: Rc<ScriptCall>,
    due: u64,
}

pub struct Group {
    setup: Setup,
    quorum: Quorum,
    nodes: Vec<Node<Order>>,
    attempts: SlotMap<AttemptKey, Attempting>,
    unlocks: SlotMap<UnlockKey, Unlocking>,
    renewals: SlotMap<RenewalKey, Renewing>,
    fence: FenceClock,
    /// The pools that a lock has been taken in, by the beginning of their names.
    known: HashSet<String>,
    random: StdRng,
    timeout: Timer,
    timeout_set: bool,
}

impl Group {
    pub fn new(setup: Setup, quorum: Quorum, random: StdRng) -> Self {
        let node = |(at, target): (usize, &NodeTarget)| {
            let argument = setup.base + at as u64;
            Node::new(
                target.clone(),
                setup.quarantine_ms,
                setup.bootstrap,
                setup.on_node,
                argument,
            )
        };
        Self {
            nodes: setup.nodes.iter().enumerate().map(node).collect(),
            timeout: Timer::new(true, setup.on_node, setup.base + TIMEOUT),
            setup,
            quorum,
            attempts: SlotMap::with_key(),
            unlocks: SlotMap::with_key(),
            renewals: SlotMap::with_key(),
            fence: FenceClock::default(),
            known: HashSet::new(),
            random,
            timeout_set: false,
        }
    }

    fn voters(&self, now: u64) -> NodeSet {
        let votes = |(_, node): &(usize, &Node<Order>)| node.votes(now);
        self.nodes
            .iter()
            .enumerate()
            .filter(votes)
            .map(|(at, _)| NodeId(at as u8))
            .collect()
    }

    /// Nodes that can be asked to keep what they have: in quarantine, too.
    fn keepers(&self) -> NodeSet {
        let open = |(_, node): &(usize, &Node<Order>)| node.is_open();
        self.nodes
            .iter()
            .enumerate()
            .filter(open)
            .map(|(at, _)| NodeId(at as u8))
            .collect()
    }

    /// How each node does.
    pub fn reports(&self, now: u64) -> impl Iterator<Item = NodeReport> {
        self.nodes.iter().map(move |node| node.report(now))
    }

    /// Tries to lock a slot.
    pub fn attempt(
        &mut self,
        attempt: Attempt,
        now: u64,
        wall_us: u64,
        done: &mut Vec<Outcome>,
    ) -> Option<AttemptKey> {
        let nonce = u128::from(self.random.next_u64()) << 64 | u128::from(self.random.next_u64());
        let Ok(candidates) = Candidates::in_order(vec![attempt.slot.clone()]) else {
            done.push(Outcome::Unavailable {
                tag: attempt.tag,
                handle: attempt.handle,
            });
            return None;
        };
        let proposal = Proposal {
            candidates: candidates.clone(),
            nonce: Nonce(nonce),
            ttl_ms: attempt.ttl_ms,
            fence: self.fence.propose(wall_us),
            holder: Holder::new(&self.setup.owner, "", wall_us / 1_000),
            quarantine_ms: self.setup.quarantine_ms,
            bootstrap: self.is_first(&attempt.names),
        };
        let ask = openai_core::redlock::Attempt {
            quorum: self.quorum,
            ask: self.voters(now),
            proposal,
            drift: self.setup.drift,
            retry: self.setup.retry,
            random: self.random.next_u64(),
        };
        let command = Command::Acquire(ask.proposal.clone().into());
        let call = Rc::new(ScriptCall::new(&command, &attempt.names));
        let (acquire, actions) = Acquire::new(ask, now);
        let due = now + self.setup.timeout_ms;
        let key = self.attempts.insert(Attempting {
            acquire,
            attempt,
            candidates,
            call,
            due,
        });
        self.act(key, actions, now, done);
        self.attempts.contains_key(key).then_some(key)
    }

    /// Whether the nodes may never have heard of the pool, and need not wait to see
    /// whether they have forgotten it. A guard that is set once tells the rest.
    fn is_first(&self, names: &PoolNames) -> bool {
        self.setup.bootstrap && !self.known.contains(names.base())
    }

    /// Nobody wants the lock any more. What has been granted is given back.
    pub fn abandon(&mut self, key: AttemptKey, now: u64, done: &mut Vec<Outcome>) {
        self.step(key, Event::Abandoned, now, done);
    }

    /// Gives a lock back; [`Outcome::Unlocked`] tells when that is done.
    pub fn unlock(
        &mut self,
        names: &PoolNames,
        slot: Slot,
        lock: Lock,
        handle: LeaseHandle,
        now: u64,
        done: &mut Vec<Outcome>,
    ) {
        let lease = Lease {
            slot,
            nonce: Nonce(lock.nonce()),
            fence: Default::default(),
            deadline_ms: lock.deadline_ms,
        };
        let (release, action) = Release::new(self.quorum, &lease);
        let ReleaseAction::Send { to, command } = action else {
            return;
        };
        let call = Rc::new(ScriptCall::new(&command, names));
        let due = now + self.setup.timeout_ms;
        let key = self.unlocks.insert(Unlocking {
            release,
            handle,
            due,
        });
        let packed = by_digest(&call);
        for node in to.iter() {
            if self
                .send(node, &packed, Order::Unlock(key, Rc::clone(&call)), now)
                .is_err()
            {
                self.unlocked(key, ReleaseEvent::Failed(node), done);
            }
        }
        self.arm();
    }

    /// Prolongs locks.
    pub fn prolong(
        &mut self,
        names: &PoolNames,
        ttl_ms: u64,
        locks: &[(LeaseHandle, Slot, Lock)],
        now: u64,
        done: &mut Vec<Outcome>,
    ) {
        for batch in locks.chunks(256) {
            let leases: Vec<_> = batch
                .iter()
                .map(|(_, slot, lock)| lease_of(slot, lock))
                .collect();
            let handles: Vec<_> = batch.iter().map(|&(handle, ..)| handle).collect();
            let timing = Timing {
                ttl_ms,
                drift: self.setup.drift,
            };
            let (renewal, actions) =
                Renewal::new(self.quorum, timing, self.keepers(), &leases, now);
            let mut call = None;
            for action in &actions {
                if let RenewalAction::Send { command, .. } = action
                    && let Command::Renew(renew) = command
                {
                    let asked = renew.leases.len();
                    call = Some((asked, Rc::new(ScriptCall::new(command, names))));
                }
            }
            let Some((asked, call)) = call else {
                note_renewals(&handles, &actions, done);
                continue;
            };
            let due = now + self.setup.timeout_ms;
            let packed = by_digest(&call);
            let key = self.renewals.insert(Renewing {
                renewal,
                handles,
                asked,
                call,
                due,
            });
            self.renewed(key, actions, done);
            let to = self
                .renewals
                .get(key)
                .map_or(NodeSet::default(), |r| r.renewal.pending());
            for node in to.iter() {
                if self.send(node, &packed, Order::Renew(key), now).is_err() {
                    self.renewal_step(key, RenewalEvent::Failed(node), now, done);
                }
            }
        }
        self.arm();
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
        for at in 0..self.nodes.len() {
            let mut heard = vec![];
            let random = self.random.next_u64();
            self.nodes[at].tend(now, random, &mut heard);
            self.hear(at, heard, now, done);
        }
    }

    /// Gives up on nodes that have not answered in time.
    pub fn timeouts(&mut self, now: u64, done: &mut Vec<Outcome>) {
        self.timeout_set = false;
        let late: Vec<_> = self
            .attempts
            .iter()
            .filter(|(_, a)| a.due <= now)
            .map(|(key, _)| key)
            .collect();
        let mut slow = NodeSet::default();
        for key in late {
            let pending = self
                .attempts
                .get(key)
                .map(|a| a.acquire.pending())
                .unwrap_or_default();
            for node in pending.iter() {
                slow.insert(node);
                self.step(key, Event::TimedOut(node), now, done);
            }
        }
        let late: Vec<_> = self
            .unlocks
            .iter()
            .filter(|(_, u)| u.due <= now)
            .map(|(key, _)| key)
            .collect();
        for key in late {
            for node in self.quorum.all().iter() {
                self.unlocked(key, ReleaseEvent::Failed(node), done);
            }
        }
        let late: Vec<_> = self
            .renewals
            .iter()
            .filter(|(_, r)| r.due <= now)
            .map(|(key, _)| key)
            .collect();
        for key in late {
            let pending = self
                .renewals
                .get(key)
                .map(|r| r.renewal.pending())
                .unwrap_or_default();
            for node in pending.iter() {
                slow.insert(node);
                self.renewal_step(key, RenewalEvent::Failed(node), now, done);
            }
        }
        for node in slow.iter() {
            let random = self.random.next_u64();
            if let Some(node) = self.nodes.get_mut(usize::from(node.0)) {
                node.timed_out(now, random);
            }
        }
        self.arm();
    }

    /// One timer for all: they all have the same patience, so the first is due first.
    fn arm(&mut self) {
        let idle = self.attempts.is_empty() && self.unlocks.is_empty() && self.renewals.is_empty();
        if !self.timeout_set && !idle {
            self.timeout_set = true;
            self.timeout.start(self.setup.timeout_ms.div_ceil(2).max(1));
        }
    }

    fn send(&mut self, node: NodeId, packed: &[u8], order: Order, now: u64) -> Result<(), ()> {
        let node = self.nodes.get_mut(usize::from(node.0)).ok_or(())?;
        node.send(packed, order, now).map_err(|_| ())
    }

    fn hear(&mut self, at: usize, heard: Vec<Heard<Order>>, now: u64, done: &mut Vec<Outcome>) {
        let node = NodeId(at as u8);
        for heard in heard {
            match heard {
                Heard::Reply(order, Value::Error(ErrorKind::NoScript)) => {
                    self.send_in_full(node, order, now, done);
                }
                Heard::Reply(order, value) => self.replied(node, order, &value, now, done),
                Heard::Broken(order) => {
                    self.replied(
                        node,
                        order,
                        &Value::Error(ErrorKind::Disconnected),
                        now,
                        done,
                    );
                }
            }
        }
    }

    fn send_in_full(&mut self, node: NodeId, order: Order, now: u64, done: &mut Vec<Outcome>) {
        let call = match &order {
            Order::Acquire(key) => self.attempts.get(*key).map(|a| Rc::clone(&a.call)),
            Order::Renew(key) => self.renewals.get(*key).map(|r| Rc::clone(&r.call)),
            Order::Unlock(_, call) | Order::Stray(call) => Some(Rc::clone(call)),
        };
        let Some(call) = call else { return };
        if self
            .send(node, &in_full(&call), order.clone(), now)
            .is_err()
        {
            self.replied(
                node,
                order,
                &Value::Error(ErrorKind::Disconnected),
                now,
                done,
            );
        }
    }

    fn replied(
        &mut self,
        node: NodeId,
        order: Order,
        value: &Value,
        now: u64,
        done: &mut Vec<Outcome>,
    ) {
        match order {
            Order::Stray(_) => {}
            Order::Acquire(key) => {
                let Some(attempting) = self.attempts.get(key) else {
                    return;
                };
                let event = match reply::acquire(value, &attempting.candidates) {
                    Ok(ballot) => Event::Voted(node, ballot),
                    Err(kind) => Event::Erred(node, kind),
                };
                self.step(key, event, now, done);
            }
            Order::Unlock(key, _) => {
                let event = match reply::release(value) {
                    Ok(count) => ReleaseEvent::Answered(node, count),
                    Err(_) => ReleaseEvent::Failed(node),
                };
                self.unlocked(key, event, done);
            }
            Order::Renew(key) => {
                let Some(renewing) = self.renewals.get(key) else {
                    return;
                };
                match reply::renew(value, renewing.asked) {
                    Ok(votes) => {
                        self.renewal_step(key, RenewalEvent::Voted(node, &votes), now, done);
                    }
                    Err(_) => self.renewal_step(key, RenewalEvent::Failed(node), now, done),
                }
            }
        }
    }

    fn step(&mut self, key: AttemptKey, event: Event, now: u64, done: &mut Vec<Outcome>) {
        let Some(attempting) = self.attempts.get_mut(key) else {
            return;
        };
        let actions = attempting.acquire.step(now, event);
        self.fence.saw(attempting.acquire.highest_fence());
        self.act(key, actions, now, done);
        if self
            .attempts
            .get(key)
            .is_some_and(|a| a.acquire.is_drained())
        {
            self.attempts.remove(key);
        }
    }

    fn act(&mut self, key: AttemptKey, actions: Vec<Action>, now: u64, done: &mut Vec<Outcome>) {
        for action in actions {
            let Some(attempting) = self.attempts.get(key) else {
                return;
            };
            let (tag, handle) = (attempting.attempt.tag, attempting.attempt.handle);
            match action {
                Action::Send { to, .. } => {
                    let packed = by_digest(&attempting.call);
                    for node in to.iter() {
                        if self.send(node, &packed, Order::Acquire(key), now).is_err() {
                            let event = Event::Erred(node, ErrorKind::Disconnected);
                            self.step(key, event, now, done);
                        }
                    }
                    self.arm();
                }
                Action::Release { to, command } => {
                    let names = Rc::clone(&attempting.attempt.names);
                    self.give_back(to, command, &names, now);
                }
                Action::Won { lease, .. } => {
                    let base = attempting.attempt.names.base();
                    if !self.known.contains(base) {
                        self.known.insert(base.to_owned());
                    }
                    let lock = Lock::new(lease.nonce.0, lease.fence.get(), lease.deadline_ms);
                    done.push(Outcome::Locked { tag, handle, lock });
                }
                Action::Retry { after_ms, .. } => {
                    done.push(Outcome::Busy {
                        tag,
                        handle,
                        wait_ms: after_ms,
                    });
                }
                Action::Failed(Failure::Busy { wait_ms }) => {
                    let wait_ms = self.patience(wait_ms);
                    done.push(Outcome::Busy {
                        tag,
                        handle,
                        wait_ms,
                    });
                }
                Action::Failed(Failure::Abandoned) => done.push(Outcome::Abandoned { handle }),
                Action::Failed(_) => done.push(Outcome::Unavailable { tag, handle }),
            }
        }
    }

    /// How long to leave alone a slot that is held elsewhere: until its lease
    /// ends, if that is soon; it may be given up before, without word of it.
    fn patience(&mut self, wait_ms: Option<u64>) -> u64 {
        let most = 100 + self.random.next_u64() % 100;
        wait_ms.unwrap_or(most).clamp(1, most)
    }

    fn give_back(&mut self, to: NodeSet, command: ReleaseCommand, names: &PoolNames, now: u64) {
        let call = Rc::new(ScriptCall::new(&Command::Release(command), names));
        let packed = by_digest(&call);
        for node in to.iter() {
            // Where there is no connection, the grant ends by itself.
            let _ = self.send(node, &packed, Order::Stray(Rc::clone(&call)), now);
        }
    }

    fn unlocked(&mut self, key: UnlockKey, event: ReleaseEvent, done: &mut Vec<Outcome>) {
        let Some(unlocking) = self.unlocks.get_mut(key) else {
            return;
        };
        if let Some(ReleaseAction::Done(_)) = unlocking.release.step(event) {
            done.push(Outcome::Unlocked {
                handle: unlocking.handle,
            });
            self.unlocks.remove(key);
        }
    }

    fn renewal_step(
        &mut self,
        key: RenewalKey,
        event: RenewalEvent<'_>,
        now: u64,
        done: &mut Vec<Outcome>,
    ) {
        let Some(renewing) = self.renewals.get_mut(key) else {
            return;
        };
        let actions = renewing.renewal.step(now, event);
        self.renewed(key, actions, done);
    }

    fn renewed(&mut self, key: RenewalKey, actions: Vec<RenewalAction>, done: &mut Vec<Outcome>) {
        let Some(renewing) = self.renewals.get(key) else {
            return;
        };
        note_renewals(&renewing.handles, &actions, done);
        if renewing.renewal.pending().is_empty() {
            self.renewals.remove(key);
        }
    }
}

fn lease_of(slot: &Slot, lock: &Lock) -> Lease {
    Lease {
        slot: slot.clone(),
        nonce: Nonce(lock.nonce()),
        fence: openai_core::redlock::Fence::new(lock.fence).unwrap_or_default(),
        deadline_ms: lock.deadline_ms,
    }
}

fn note_renewals(handles: &[LeaseHandle], actions: &[RenewalAction], done: &mut Vec<Outcome>) {
    for action in actions {
        match *action {
            RenewalAction::Extended { lease, deadline_ms } => {
                done.extend(handles.get(lease).map(|&handle| Outcome::Prolonged {
                    handle,
                    deadline_ms,
                }));
            }
            RenewalAction::Lost { lease } => {
                done.extend(handles.get(lease).map(|&handle| Outcome::Lost { handle }));
            }
            RenewalAction::Kept { .. } | RenewalAction::Send { .. } => {}
        }
    }
}

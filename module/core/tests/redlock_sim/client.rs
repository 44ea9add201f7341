//! A simulated client: drives the state machines as a worker does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use openai_core::redlock::{
    Acquire, AcquireEvent, Command, Durability, ErrorKind, Fence, FenceClock, Incarnation, Lease,
    NodeHealth, NodeId, NodeSet, Operation, Operations, Quorum, Release, ReleaseEvent, Renewal,
    RenewalEvent, ServerInfo, SuspectPolicy, Value, reply,
};

use crate::checker::Checker;
use crate::machine::{Call, Machine};
use crate::message::{Output, Response, Timer, Topic};
use crate::plan::{Clock, END, NODE_TIMEOUT, Plan, QUARANTINE, Sabotage, TTL};
use crate::rng::Rng;

const CIRCUIT: SuspectPolicy = SuspectPolicy {
    suspect_after: 3,
    probe_min_ms: 50,
    probe_max_ms: 400,
};

/// A lease, with the attempt that acquired it or received it.
#[derive(Clone)]
pub struct Held {
    pub serial: u64,
    pub lease: Lease,
    /// Difference between its fence and that of the lock.
    pub handed: u64,
    /// Whether renewals may still be under way.
    pub retold: bool,
}

impl Held {
    pub fn fence(&self) -> u64 {
        self.lease.fence.get() + self.handed
    }
}

pub struct Client {
    pub(super) id: usize,
    pub(super) clock: Clock,
    pub(super) wall_skew: i64,
    pub(super) rng: Rng,
    pub(super) plan: Plan,
    pub(super) quorum: Quorum,
    pub(super) sabotage: Option<Sabotage>,
    pub(super) fences: FenceClock,
    /// Whether to use the script, since plain commands return less.
    pub(super) careful: bool,
    pub(super) serial: u64,
    pub(super) attempts: BTreeMap<u64, Acquire>,
    /// Successful attempts. Their locks may have been handed over, so they are not abandoned.
    pub(super) won: BTreeSet<u64>,
    /// With the attempt whose lease each extends.
    pub(super) renewals: BTreeMap<u64, (u64, Renewal)>,
    /// With the lease that each releases.
    pub(super) releases: BTreeMap<u64, (Lease, Release)>,
    pub(super) lease: Option<Held>,
    /// The last proposed fence.
    pub(super) proposed: Fence,
    /// The highest fence seen or proposed.
    pub(super) raw: u64,
    /// State shared by the workers of a machine.
    pub(super) machine: Rc<RefCell<Machine>>,
    pub(super) operations: Operations<Call>,
    /// Pending operations.
    pub(super) keeps: BTreeMap<Operation, Renewal>,
    /// The operation that gets the answers about a lock, when the rule of separate operations is
    /// broken.
    pub(super) latest: BTreeMap<u128, Operation>,
    /// Whether the client has crashed.
    pub(super) crashed: bool,
    pub(super) health: Vec<NodeHealth>,
    pub(super) lives: Vec<Incarnation>,
    pub(super) outputs: Vec<Output>,
}

impl Client {
    pub fn new(
        id: usize,
        plan: &Plan,
        machine: Rc<RefCell<Machine>>,
        sabotage: Option<Sabotage>,
        mut rng: Rng,
    ) -> Self {
        let (clock, wall_skew) = plan.clients[id];
        let nodes = match sabotage {
            Some(Sabotage::Quorum) => plan.nodes.div_ceil(2),
            _ => plan.nodes,
        };
        let mut life = Incarnation::new(Durability::Lossy, QUARANTINE);
        let info = ServerInfo {
            run_id: "0".into(),
            uptime_s: 1_000,
            ..ServerInfo::default()
        };
        life.connected(&info, clock.at(0));
        let outputs = vec![
            Output::Timer(rng.within(0, TTL), Timer::Ask(plan.slots.clone())),
            Output::Timer(rng.within(0, TTL), Timer::Serve),
            Output::Timer(rng.within(0, TTL), Timer::Tend),
        ];
        Self {
            id,
            clock,
            wall_skew,
            rng,
            plan: plan.clone(),
            quorum: Quorum::of(nodes).unwrap(),
            sabotage,
            fences: FenceClock::default(),
            careful: false,
            serial: 0,
            attempts: BTreeMap::new(),
            won: BTreeSet::new(),
            renewals: BTreeMap::new(),
            releases: BTreeMap::new(),
            lease: None,
            proposed: Fence::default(),
            raw: 0,
            machine,
            operations: Operations::default(),
            keeps: BTreeMap::new(),
            latest: BTreeMap::new(),
            crashed: false,
            health: vec![NodeHealth::new(CIRCUIT); usize::from(nodes)],
            lives: vec![life; usize::from(nodes)],
            outputs,
        }
    }

    /// The real node behind a client's node id.
    pub fn real_node(&self, node: NodeId) -> usize {
        let first = match self.sabotage {
            Some(Sabotage::Quorum) => self.id * usize::from(self.quorum.nodes()),
            _ => 0,
        };
        (first + usize::from(node.0)) % usize::from(self.plan.nodes)
    }

    pub fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// The client crashes.
    pub fn crash(&mut self, checker: &mut Checker) {
        self.crashed = true;
        self.machine
            .borrow_mut()
            .waiting
            .retain(|&id| id != self.id);
        if let Some(held) = self.lease.take() {
            checker.ended(self.id, held.lease.slot.field(), held.fence());
        }
    }

    pub fn timer(&mut self, real: u64, timer: Timer, checker: &mut Checker) {
        let now = self.clock.at(real);
        match timer {
            Timer::Ask(slots) if real < END && self.lease.is_none() => {
                if self.plan.workers > 1 && self.rng.percent(40) {
                    self.wait();
                } else {
                    self.ask(real, slots, checker);
                }
            }
            Timer::WaitedOut => {
                let mut machine = self.machine.borrow_mut();
                let before = machine.waiting.len();
                machine.waiting.retain(|&id| id != self.id);
                let waited = machine.waiting.len() < before;
                drop(machine);
                if waited && real < END && self.lease.is_none() {
                    self.ask(real, self.plan.slots.clone(), checker);
                }
            }
            Timer::Mail => self.collect(real, checker),
            Timer::Serve => self.serve(real, checker),
            Timer::Tend => self.tend(real, checker),
            Timer::KeepTimeout(operation) => {
                let late = self.keeps.get(&operation).map(Renewal::pending);
                for node in late.unwrap_or_default().iter() {
                    self.timed_out(now, node);
                    self.keep_event(real, operation, RenewalEvent::Failed(node), checker);
                }
            }
            Timer::Ask(_) => {}
            Timer::Abandon(serial) if !self.won.contains(&serial) => {
                self.attempt_event(real, serial, AcquireEvent::Abandoned, checker);
            }
            Timer::Abandon(_) => {}
            Timer::AttemptTimeout(serial) => {
                let late = self.attempts.get(&serial).map(Acquire::pending);
                for node in late.unwrap_or_default().iter() {
                    self.timed_out(now, node);
                    self.attempt_event(real, serial, AcquireEvent::TimedOut(node), checker);
                }
            }
            Timer::Renew(serial) if self.holds(serial) => self.renew(real, checker),
            Timer::Renew(_) => {}
            Timer::RenewalTimeout(serial) => {
                let late = self
                    .renewals
                    .get(&serial)
                    .map(|(_, renewal)| renewal.pending());
                for node in late.unwrap_or_default().iter() {
                    self.timed_out(now, node);
                    self.renewal_event(real, serial, RenewalEvent::Failed(node), checker);
                }
            }
            Timer::GiveBack(serial) if self.holds(serial) => self.end_lease(real, true, checker),
            Timer::GiveBack(_) => {}
            Timer::Probe(node) => {
                if self.health[usize::from(node.0)].probe(now) {
                    self.outputs.push(Output::Send(node, Topic::Probe, None));
                    self.later(NODE_TIMEOUT, Timer::ProbeTimeout(node));
                }
            }
            Timer::ProbeTimeout(node) => {
                let health = &self.health[usize::from(node.0)];
                if health.is_suspect() && health.next_probe().is_none() {
                    self.timed_out(now, node);
                }
            }
        }
    }

    pub fn response(
        &mut self,
        real: u64,
        (node, topic): (NodeId, Topic),
        response: &Response,
        checker: &mut Checker,
    ) {
        let now = self.clock.at(real);
        let value = match response {
            Response::Reset(info) => {
                self.lives[usize::from(node.0)].connected(info, now);
                &Value::Error(ErrorKind::Disconnected)
            }
            Response::Value(value) => {
                self.lives[usize::from(node.0)].answered(now);
                value
            }
        };
        match topic {
            Topic::Attempt(serial) => {
                let Some(attempt) = self.attempts.get(&serial) else {
                    return;
                };
                if attempt.pending().contains(node) {
                    self.health[usize::from(node.0)].answered();
                }
                let event = match reply::acquire(value, attempt.candidates()) {
                    Ok(ballot) => AcquireEvent::Voted(node, ballot),
                    Err(kind) => {
                        self.careful |= kind == ErrorKind::Unsure;
                        AcquireEvent::Erred(node, kind)
                    }
                };
                self.attempt_event(real, serial, event, checker);
            }
            Topic::Renewal(serial) => {
                let votes = reply::renew(value, 1);
                if votes == Ok(vec![reply::Renewed::Restored]) {
                    checker.counts.restored += 1;
                }
                let event = match &votes {
                    Ok(votes) => RenewalEvent::Voted(node, votes),
                    Err(_) => RenewalEvent::Failed(node),
                };
                self.renewal_event(real, serial, event, checker);
            }
            Topic::Release(serial) => {
                if let Some((lease, release)) = self.releases.get_mut(&serial) {
                    let _outcome = release.step(match reply::release(value) {
                        Ok(released) => ReleaseEvent::Answered(node, released.count),
                        Err(_) => ReleaseEvent::Failed(node),
                    });
                    if release.is_gone() {
                        checker.gone(lease, real);
                    }
                }
            }
            Topic::Keep(operation) => {
                let votes = reply::renew(value, 1);
                let event = match &votes {
                    Ok(votes) => RenewalEvent::Voted(node, votes),
                    Err(_) => RenewalEvent::Failed(node),
                };
                self.keep_event(real, operation, event, checker);
            }
            Topic::Settle(serial, at) => {
                if let Some((_, release)) = self.releases.get_mut(&serial) {
                    let _outcome = release.step(match reply::release(value) {
                        Ok(released) => ReleaseEvent::Answered(node, released.count),
                        Err(_) => ReleaseEvent::Failed(node),
                    });
                    if release.is_gone() {
                        self.machine.borrow_mut().services[at].asked = 0;
                    }
                }
            }
            Topic::Probe => self.health[usize::from(node.0)].answered(),
            Topic::Stray => {}
        }
    }

    pub(super) fn holds(&self, serial: u64) -> bool {
        self.lease
            .as_ref()
            .is_some_and(|held| held.serial == serial)
    }

    pub(super) fn later(&mut self, after: u64, timer: Timer) {
        self.outputs.push(Output::Timer(after, timer));
    }

    pub(super) fn send(&mut self, to: NodeSet, topic: Topic, command: &Command) {
        for node in to.iter() {
            self.outputs
                .push(Output::Send(node, topic, Some(command.clone())));
        }
    }

    fn timed_out(&mut self, now: u64, node: NodeId) {
        let random = self.rng.next();
        let health = &mut self.health[usize::from(node.0)];
        let before = health.next_probe();
        health.timed_out(now, random);
        if let Some(at) = health.next_probe().filter(|&at| before != Some(at)) {
            self.later((at - now) * 101 / 100 + 1, Timer::Probe(node));
        }
    }
}

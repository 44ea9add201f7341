//! A client: a worker with the real group of nodes.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{PoolNames, Quorum, RetryDelay, Slot};
use rand::SeedableRng;
use rand::rngs::StdRng;
use redis_nodes::{Group, GroupEvent, GroupTimer, NodeTarget, Operation, Setup, SlotCommands};
use slotmap::SlotMap;

use crate::checker::Checker;
use crate::machine::{Call, Machine};
use crate::message::{Output, Timer};
use crate::network::{Shared, Virtual};
use crate::plan::{Clock, END, NODE_TIMEOUT, Plan, QUARANTINE, Sabotage, TIMING, TTL};
use crate::rng::Rng;

const RETRY: RetryDelay = RetryDelay {
    min_ms: 2,
    jitter_ms: 20,
};
/// Interval of connection maintenance.
const TEND: u64 = 100;

/// An attempt to take a lock that has not been decided.
pub struct Asking {
    pub serial: u64,
    pub handle: LeaseHandle,
    /// The acceptable slots.
    pub options: Vec<usize>,
}

/// A lease with its lock.
#[derive(Clone, Copy)]
pub struct Held {
    pub serial: u64,
    pub handle: LeaseHandle,
    pub slot: usize,
    pub lock: Lock,
    /// Difference between its fence and that of the lock.
    pub handed: u64,
    /// Whether renewals may still be under way.
    pub may_be_extended: bool,
}

impl Held {
    pub fn fence(&self) -> u64 {
        self.lock.fence + self.handed
    }
}

pub struct Client {
    pub(super) id: usize,
    pub(super) clock: Clock,
    pub(super) wall_skew: i64,
    pub(super) rng: Rng,
    pub(super) plan: Plan,
    pub(super) sabotage: Option<Sabotage>,
    pub(super) group: Group<Virtual>,
    pub(super) names: Rc<PoolNames>,
    pub(super) slots: Vec<Rc<SlotCommands>>,
    pub(super) done: Vec<GroupEvent>,
    pub(super) serial: u64,
    pub(super) asking: Option<Asking>,
    pub(super) lease: Option<Held>,
    /// Released locks, by their leases.
    pub(super) given_back: HashMap<LeaseHandle, (usize, Lock)>,
    /// State shared by the workers of a machine.
    pub(super) machine: Rc<RefCell<Machine>>,
    pub(super) operations: SlotMap<Operation, Call>,
    /// The operation that all replies about a lock complete, when that rule is disabled.
    pub(super) latest: BTreeMap<u128, Operation>,
    /// Whether the client has crashed.
    crashed: bool,
    /// Whether connections are not maintained any more, so that silent ones stay open.
    is_over: bool,
    pub(super) outputs: Vec<Output>,
}

impl Client {
    pub fn new(
        id: usize,
        plan: &Plan,
        machine: Rc<RefCell<Machine>>,
        sabotage: Option<Sabotage>,
        mut rng: Rng,
        network: Shared,
    ) -> Self {
        let (clock, wall_skew) = plan.clients[id];
        let names = Rc::new(crate::plan::names());
        let outputs = vec![
            Output::Timer(rng.within(0, TTL), Timer::Ask),
            Output::Timer(rng.within(0, TTL), Timer::Serve),
            Output::Timer(rng.within(0, TTL), Timer::Tend),
            Output::Timer(0, Timer::TendNodes),
        ];
        let instance = format!("m{}", id / plan.workers);
        let nodes = nodes_of(id, plan, sabotage);
        let quorum = Quorum::of(nodes.len() as u8).unwrap();
        let target = |&node: &usize| NodeTarget {
            name: String::new(),
            address: node,
            user: None,
            password: None,
            database: 0,
        };
        let setup = Setup {
            number: 0,
            nodes: nodes.iter().map(target).collect(),
            timeout_ms: NODE_TIMEOUT,
            drift: TIMING.drift,
            shortest_ttl_ms: TIMING.ttl_ms,
            retry: RETRY,
            quarantine_ms: QUARANTINE,
            bootstrap: false,
            pools: vec![Rc::clone(&names)],
            owner: format!("{instance}:{id}"),
            instance,
        };
        let random = StdRng::seed_from_u64(rng.next());
        let transport = Virtual {
            client: id,
            clock,
            network,
        };
        let commands = |slot: &Slot| {
            let commands = SlotCommands::new(slot.clone(), Rc::clone(&names), TTL);
            Rc::new(commands)
        };
        Self {
            id,
            clock,
            wall_skew,
            rng,
            sabotage,
            group: Group::new(setup, quorum, random, transport),
            slots: plan.slots.iter().map(commands).collect(),
            names,
            plan: plan.clone(),
            done: vec![],
            serial: 0,
            asking: None,
            lease: None,
            given_back: HashMap::new(),
            machine,
            operations: SlotMap::default(),
            latest: BTreeMap::new(),
            crashed: false,
            is_over: false,
            outputs,
        }
    }

    pub fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    pub(super) fn later(&mut self, after: u64, timer: Timer) {
        self.outputs.push(Output::Timer(after, timer));
    }

    /// A new handle of a lease.
    pub(super) fn handle(&mut self) -> LeaseHandle {
        self.serial += 1;
        let nonce = u128::from(self.serial) << 32 | self.id as u128;
        LeaseHandle::new(0, nonce)
    }

    pub(super) fn field(&self, slot: usize) -> &str {
        self.slots[slot].slot.field()
    }

    /// Crashes the client.
    pub fn crash(&mut self, checker: &mut Checker) {
        self.crashed = true;
        let mut machine = self.machine.borrow_mut();
        machine.waiting.retain(|&id| id != self.id);
        drop(machine);
        if let Some(held) = self.lease.take() {
            checker.ended(self.id, self.field(held.slot), held.fence());
        }
    }

    /// A connection can be read or written, or has failed.
    pub fn node_event(&mut self, real: u64, node: usize, checker: &mut Checker) {
        let now = self.clock.at(real);
        self.group.node_event(node, now, &mut self.done);
        self.settle(real, checker);
    }

    pub fn group_timer(&mut self, real: u64, timer: GroupTimer, checker: &mut Checker) {
        let now = self.clock.at(real);
        if self.is_over {
            return;
        }
        match timer {
            GroupTimer::Timeout => self.group.timeouts(now, &mut self.done),
            GroupTimer::Wake => self.group.wake(&mut self.done),
        }
        self.settle(real, checker);
    }

    pub fn timer(&mut self, real: u64, timer: Timer, checker: &mut Checker) {
        match timer {
            Timer::Ask if real < END && self.is_idle() => {
                if self.plan.retains && self.reuse(real, checker) {
                    return self.settle(real, checker);
                }
                if self.plan.workers > 1 && self.rng.percent(40) {
                    self.wait();
                } else {
                    self.ask(real, None);
                }
            }
            Timer::Ask => {}
            Timer::WaitedOut => {
                let mut machine = self.machine.borrow_mut();
                let before = machine.waiting.len();
                machine.waiting.retain(|&id| id != self.id);
                let waited = machine.waiting.len() < before;
                drop(machine);
                if waited && real < END && self.is_idle() {
                    self.ask(real, None);
                }
            }
            Timer::Mail => self.collect(real, checker),
            Timer::Reclaim => self.reclaim(real, checker),
            Timer::Serve => self.serve(real, checker),
            Timer::Tend => self.tend(real, checker),
            Timer::TendNodes => self.tend_nodes(real),
            Timer::Abandon(serial) => self.abandon(real, serial),
            Timer::Renew(serial) if self.holds(serial) => self.renew(real),
            Timer::Renew(_) => {}
            Timer::GiveBack(serial) if self.holds(serial) => self.end_lease(real, true, checker),
            Timer::GiveBack(_) => {}
        }
        self.settle(real, checker);
    }

    fn tend_nodes(&mut self, real: u64) {
        let now = self.clock.at(real);
        for names in self.group.queued_in() {
            if real < END && self.lease.is_none() {
                self.group.stay(&names, 0, now);
            } else {
                self.group.unqueue(&names);
            }
        }
        self.group.tend(now, &mut self.done);
        // A client that is stopped at the end gets its replies later. If a rule is disabled, some
        // calls are never answered.
        let is_called = real < END + 5 * TTL && !self.operations.is_empty();
        let asks = self.asking.is_some() || is_called;
        self.is_over = real >= END && self.lease.is_none() && !asks && !self.owes(now);
        if !self.is_over {
            self.later(TEND, Timer::TendNodes);
        }
    }

    /// Handles the group's events, and sends what has been pushed.
    fn settle(&mut self, real: u64, checker: &mut Checker) {
        loop {
            if self.done.is_empty() {
                self.group.flush(self.clock.at(real), &mut self.done);
            }
            if self.done.is_empty() {
                return;
            }
            for outcome in std::mem::take(&mut self.done) {
                self.settle_one(real, outcome, checker);
            }
        }
    }

    fn settle_one(&mut self, real: u64, outcome: GroupEvent, checker: &mut Checker) {
        let counts = &mut checker.counts;
        match outcome {
            GroupEvent::Locked {
                handle,
                lock,
                choice,
                ..
            } => {
                let Some(asking) = self.asked(handle) else {
                    return checker.stuck(format!("{} won what it does not want", self.id));
                };
                self.win(real, &asking, choice, lock, checker);
            }
            GroupEvent::Busy {
                handle, wait_ms, ..
            } => {
                counts.busy += 1;
                if self.asked(handle).is_some() {
                    self.is_refused(real, wait_ms);
                }
            }
            GroupEvent::Unsure { .. } => {
                counts.unsure += 1;
                self.attempt(real, true);
            }
            GroupEvent::Unavailable { handle, .. } => {
                if self.asked(handle).is_some() {
                    self.ask_later();
                }
            }
            GroupEvent::Abandoned { handle } => {
                counts.abandoned += 1;
                if self.asked(handle).is_some() {
                    self.ask_later();
                }
            }
            GroupEvent::Prolonged {
                handle,
                deadline_ms,
            } => self.prolonged(real, handle, deadline_ms, checker),
            GroupEvent::Lost {
                handle,
                deadline_ms,
            } => self.lost(real, handle, deadline_ms, checker),
            GroupEvent::Concluded { operation, kept } => {
                self.concluded(real, operation, kept, checker);
            }
            GroupEvent::Gone { handle } => self.gone(real, handle, checker),
            GroupEvent::Opened { node, .. } => {
                counts.opened += 1;
                self.group.greet(node, vec![]);
            }
            GroupEvent::Freed { field, .. } => {
                counts.freed += 1;
                let slots = self.slots.iter();
                let slot = { slots }.position(|slot| slot.slot.field() == field);
                if real < END && self.is_idle() {
                    self.ask(real, slot);
                }
            }
            GroupEvent::Unlocked { .. }
            | GroupEvent::CoolingDown { .. }
            | GroupEvent::Shared { .. } => {}
        }
    }

    /// Removes and returns the attempt for this lease.
    fn asked(&mut self, handle: LeaseHandle) -> Option<Asking> {
        self.asking.take_if(|asking| asking.handle == handle)
    }

    /// Whether the client has no lease and no attempt, and waits for none.
    pub(super) fn is_idle(&self) -> bool {
        let waits = self.machine.borrow().expects(self.id);
        self.lease.is_none() && self.asking.is_none() && !waits
    }

    pub(super) fn holds(&self, serial: u64) -> bool {
        self.lease.is_some_and(|held| held.serial == serial)
    }

    /// Checks that all calls have been answered, and adds the counters to the checker's.
    pub fn finish(&self, checker: &mut Checker) {
        let open = self.operations.len();
        if open > 0 && !self.crashed {
            let id = self.id;
            checker.stuck(format!("{open} calls of client {id} are not answered"));
        }
        let counts = &mut checker.counts;
        counts.no_quorum += self.group.counts.no_quorum;
        counts.quarantine += self.group.counts.quarantine;
        counts.too_late += self.group.counts.too_late;
    }
}

/// The nodes that a client uses: all of them, or with [`Sabotage::Quorum`] only some.
fn nodes_of(id: usize, plan: &Plan, sabotage: Option<Sabotage>) -> Vec<usize> {
    let all = usize::from(plan.nodes);
    let count = match sabotage {
        Some(Sabotage::Quorum) => all.div_ceil(2),
        _ => return (0..all).collect(),
    };
    (0..count).map(|node| (id * count + node) % all).collect()
}

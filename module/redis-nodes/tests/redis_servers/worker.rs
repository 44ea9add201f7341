//! One worker of one machine: a group, and the code that handles its events.

use std::cell::Cell;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::{Duration, Instant};

use openai_core::lease::{LeaseHandle, Lock};
use openai_core::redlock::{Drift, PoolNames, Quorum, RetryDelay, Slot};
use rand::SeedableRng;
use rand::rngs::StdRng;
use redis_nodes::{
    GiveBack, Group, GroupEvent, GroupTimer, LockRequest, NodeState, NodeTarget, Setup,
    SlotCommands,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::server::Server;
use crate::transport::{Happening, Log, Tokio};

pub const TTL: u64 = 30_000;
pub const QUARANTINE: u64 = 1_000;
pub const NODE_TIMEOUT: u64 = 400;
const TEND: Duration = Duration::from_millis(50);
/// The maximum time to wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on one thread.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(test));
}

/// A generator whose nonces no other worker and no other run has.
fn random(machine: &str) -> StdRng {
    StdRng::seed_from_u64(RandomState::new().hash_one(machine))
}

pub struct Worker {
    pub group: Group<Tokio>,
    pub names: Rc<PoolNames>,
    slots: Vec<Rc<SlotCommands>>,
    happenings: UnboundedReceiver<Happening>,
    outcomes: Vec<GroupEvent>,
    pub log: Log,
    origin: Instant,
    tend_at: Instant,
    serial: Cell<u64>,
}

impl Worker {
    /// Starts a worker of a machine, and waits until it is connected to all servers.
    pub async fn start(machine: &str, servers: &[Server]) -> Self {
        let mut worker = Self::begin(machine, servers);
        worker.until_up(servers.len()).await;
        worker
    }

    /// Starts a worker without waiting for connections.
    pub fn begin(machine: &str, servers: &[Server]) -> Self {
        let names = Rc::new(PoolNames::new("t:", "p").unwrap());
        let target = |(at, server): (usize, &Server)| NodeTarget {
            name: format!("node {at}"),
            address: server.address(),
            user: None,
            password: None,
            database: 0,
        };
        let setup = Setup {
            number: 0,
            nodes: servers.iter().enumerate().map(target).collect(),
            timeout_ms: NODE_TIMEOUT,
            drift: Drift::default(),
            shortest_ttl_ms: 1_000,
            retry: RetryDelay {
                min_ms: 2,
                jitter_ms: 20,
            },
            quarantine_ms: QUARANTINE,
            bootstrap: true,
            pools: vec![Rc::clone(&names)],
            owner: format!("{machine}:1"),
            instance: machine.to_owned(),
        };
        let (sender, happenings) = unbounded_channel();
        let log = Log::default();
        let transport = Tokio::new(sender, Rc::clone(&log));
        let quorum = Quorum::of(servers.len() as u8).unwrap();
        let commands = |slot| {
            let slot = Slot::new("k", slot).unwrap();
            Rc::new(SlotCommands::new(slot, Rc::clone(&names), TTL))
        };
        Self {
            group: Group::new(setup, quorum, random(machine), transport),
            slots: (0..4).map(commands).collect(),
            names,
            happenings,
            outcomes: vec![],
            log,
            origin: Instant::now(),
            tend_at: Instant::now(),
            serial: Cell::new(0),
        }
    }

    pub fn now(&self) -> u64 {
        1_000_000 + self.origin.elapsed().as_millis() as u64
    }

    pub fn slot(&self, slot: usize) -> Rc<SlotCommands> {
        Rc::clone(&self.slots[slot])
    }

    /// A new handle of a lease.
    pub fn handle(&self) -> LeaseHandle {
        self.serial.set(self.serial.get() + 1);
        LeaseHandle::new(0, self.serial.get().into())
    }

    /// Handles the next event, or maintains the connections.
    async fn pump(&mut self) {
        let left = self.tend_at.saturating_duration_since(Instant::now());
        let happening = timeout(left, self.happenings.recv()).await;
        let (now, mut done) = (self.now(), vec![]);
        match happening.ok().flatten() {
            Some(Happening::Node(node)) => self.group.node_event(node, now, &mut done),
            Some(Happening::Timer(GroupTimer::Timeout)) => self.group.timeouts(now, &mut done),
            Some(Happening::Timer(GroupTimer::Wake)) => self.group.wake(&mut done),
            None => {
                self.tend_at = Instant::now() + TEND;
                self.group.tend(now, &mut done);
            }
        }
        self.settle(done);
    }

    /// Records the group's events, and sends what has been pushed.
    pub fn settle(&mut self, mut done: Vec<GroupEvent>) {
        for outcome in &done {
            if let GroupEvent::Opened { node, .. } = outcome {
                self.group.greet(*node, vec![]);
            }
        }
        let now = self.now();
        self.group.flush(now, &mut done);
        self.outcomes.append(&mut done);
    }

    /// Runs until a condition holds.
    pub async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}; {:?}", self.outcomes);
            self.pump().await;
        }
    }

    /// Runs for a while.
    pub async fn run_for(&mut self, ms: u64) {
        let end = self.now() + ms;
        while self.now() < end {
            self.pump().await;
        }
    }

    /// Runs until there is an event for which `wanted` returns `true`, and removes it.
    pub async fn outcome(
        &mut self,
        what: &str,
        wanted: impl Fn(&GroupEvent) -> bool,
    ) -> GroupEvent {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.outcomes.iter().position(&wanted) {
                return self.outcomes.remove(at);
            }
            assert!(Instant::now() < deadline, "{what}; {:?}", self.outcomes);
            self.pump().await;
        }
    }

    /// The state of each node.
    pub fn states(&self) -> Vec<NodeState> {
        let reports = self.group.reports(&self.names, self.now());
        reports.map(|report| report.state).collect()
    }

    /// Runs until `count` nodes vote.
    pub async fn until_up(&mut self, count: usize) {
        let up = |worker: &Self| {
            let states = worker.states();
            states
                .iter()
                .filter(|&&state| state == NodeState::Up)
                .count()
        };
        self.until("nodes that vote", |worker| up(worker) == count)
            .await;
    }

    /// Runs until a node is in this state.
    pub async fn until_state(&mut self, node: usize, state: NodeState) {
        let what = format!("node {node} is {}", state.as_str());
        self.until(&what, |worker| worker.states()[node] == state)
            .await;
    }

    /// Starts an attempt to lock one of these slots.
    pub fn ask(&mut self, slots: &[usize], by_script: bool) -> LeaseHandle {
        let handle = self.handle();
        let others = slots[1..].iter();
        let attempt = LockRequest {
            names: Rc::clone(&self.names),
            first: self.slot(slots[0]),
            others: others.map(|&slot| self.slots[slot].slot.clone()).collect(),
            by_script,
            ttl_ms: TTL,
            handle,
            last_fence: 0,
            tag: 0,
        };
        let (now, mut done) = (self.now(), vec![]);
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let wall_us = wall.unwrap().as_micros() as u64;
        self.group.attempt(attempt, now, wall_us, &mut done);
        self.settle(done);
        handle
    }

    /// Tries to lock one of these slots, and returns the result.
    pub async fn try_lock(&mut self, slots: &[usize], by_script: bool) -> GroupEvent {
        let wanted = self.ask(slots, by_script);
        let decided = |outcome: &GroupEvent| match outcome {
            GroupEvent::Locked { handle, .. }
            | GroupEvent::Busy { handle, .. }
            | GroupEvent::Unsure { handle, .. }
            | GroupEvent::Unavailable { handle, .. } => *handle == wanted,
            _ => false,
        };
        self.outcome("an attempt is decided", decided).await
    }

    /// Locks a slot, which must succeed. Returns the lock and the number of votes for it.
    pub async fn lock(&mut self, slot: usize) -> (Lock, u8) {
        let mut outcome = self.try_lock(&[slot], false).await;
        if let GroupEvent::Unsure { .. } = outcome {
            outcome = self.try_lock(&[slot], true).await;
        }
        match outcome {
            GroupEvent::Locked { lock, votes, .. } => (lock, votes),
            other => panic!("not locked: {other:?}"),
        }
    }

    /// Releases a lock. Returns whether a waiter on another machine has been notified.
    pub async fn unlock(&mut self, slot: usize, lock: Lock) -> bool {
        self.give_back(slot, lock, true).await
    }

    /// The same. `may_be_extended` says whether nodes may still receive a renewal of the lock.
    pub async fn give_back(&mut self, slot: usize, lock: Lock, may_be_extended: bool) -> bool {
        let handle = self.handle();
        let give_back = GiveBack {
            lock,
            may_be_extended,
            settles: false,
            handle,
        };
        let (now, mut done) = (self.now(), vec![]);
        self.group
            .unlock(&self.slot(slot), give_back, now, &mut done);
        self.settle(done);
        let unlocked = |outcome: &GroupEvent| matches!(outcome, GroupEvent::Unlocked { handle: of, .. } if *of == handle);
        match self.outcome("a lock is given back", unlocked).await {
            GroupEvent::Unlocked { for_others, .. } => for_others,
            other => panic!("{other:?}"),
        }
    }
}

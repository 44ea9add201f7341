//! Nodes, clients and the network in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use openai_core::redlock::{Command, NodeId};

use crate::checker::{Checker, Counts};
use crate::client::Client;
use crate::machine::Machine;
use crate::message::{Output, Request, Response, Timer, Topic};
use crate::model::Store;
use crate::node::SimNode;
use crate::plan::{Fault, Plan, Sabotage, TTL};
use crate::rng::Rng;

enum Happening {
    Request(usize, NodeId, u64, Topic, Request),
    Response(usize, NodeId, u64, Topic, Response),
    Timer(usize, Timer),
    Fault(usize, Fault),
}

pub struct World {
    pub plan: Plan,
    pub now: u64,
    pub nodes: Vec<SimNode>,
    pub checker: Checker,
    /// The data of an empty node.
    empty: Store,
    clients: Vec<Client>,
    /// The node's restart count at connection time, by client and node.
    connections: BTreeMap<(usize, usize), u64>,
    /// Until when each client is stopped, or crashed.
    stopped: Vec<u64>,
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    count: u64,
    last: BTreeMap<(usize, usize, bool), u64>,
    rng: Rng,
    /// Whether no deleted data can come back.
    orderly: bool,
}

impl World {
    pub fn new(plan: Plan, sabotage: Option<Sabotage>, mut rng: Rng) -> Self {
        let empty = Store {
            ignore_fences: sabotage == Some(Sabotage::Fence),
            shortens: sabotage == Some(Sabotage::Shorten),
            ..Store::default()
        };
        let machines = plan.clients.len() / plan.workers;
        let machines: Vec<_> = (0..machines).map(Machine::new).collect();
        let client = |id: usize| {
            let machine = Rc::clone(&machines[id / plan.workers]);
            Client::new(id, &plan, machine, sabotage, Rng::new(rng.next()))
        };
        let clients: Vec<Client> = (0..plan.clients.len()).map(client).collect();
        let mut world = Self {
            now: 0,
            nodes: plan
                .node_clocks
                .iter()
                .map(|&clock| SimNode::new(clock, &empty))
                .collect(),
            checker: Checker::default(),
            empty,
            connections: BTreeMap::new(),
            stopped: vec![0; clients.len()],
            clients,
            agenda: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            count: 0,
            last: BTreeMap::new(),
            rng,
            orderly: plan.is_orderly(),
            plan,
        };
        for (at, whom, fault) in world.plan.faults.clone() {
            world.at(at, Happening::Fault(whom, fault));
        }
        world
    }

    /// Runs until nothing is left to happen.
    pub fn run(&mut self) -> Counts {
        for client in 0..self.clients.len() {
            self.carry_out(client);
        }
        while let Some(Reverse((at, number))) = self.agenda.pop() {
            self.now = at;
            if let Some(happening) = self.happenings.remove(&number) {
                self.happen(happening);
            }
        }
        for client in &self.clients {
            client.check_answered(&mut self.checker);
        }
        self.checker.counts
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.count += 1;
        self.agenda.push(Reverse((at, self.count)));
        self.happenings.insert(self.count, happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Request(client, node, life, topic, request) => {
                let real = self.clients[client].real_node(node);
                let until = self.nodes[real].busy_until;
                if until > self.now {
                    return self.at(
                        until,
                        Happening::Request(client, node, life, topic, request),
                    );
                }
                if let Some(response) = self.nodes[real].serve(self.now, life, request) {
                    if self.orderly {
                        self.checker.check_gone(self.now, &self.nodes[real].store);
                    }
                    let life = self.nodes[real].life;
                    let answer = Happening::Response(client, node, life, topic, response);
                    self.convey((client, real, false), answer);
                }
            }
            Happening::Response(client, ..) | Happening::Timer(client, _)
                if self.stopped[client] > self.now =>
            {
                if self.stopped[client] < u64::MAX {
                    self.at(self.stopped[client], happening);
                }
            }
            Happening::Response(client, node, life, topic, response) => {
                if matches!(response, Response::Reset(_)) {
                    let real = self.clients[client].real_node(node);
                    self.connections.insert((client, real), life);
                }
                let about = (node, topic);
                self.clients[client].response(self.now, about, &response, &mut self.checker);
                self.carry_out(client);
            }
            Happening::Timer(client, timer) => {
                self.clients[client].timer(self.now, timer, &mut self.checker);
                self.carry_out(client);
            }
            Happening::Fault(whom, fault) => self.fail(whom, fault),
        }
    }

    fn carry_out(&mut self, client: usize) {
        for output in self.clients[client].outputs() {
            match output {
                Output::Timer(after, timer) => {
                    self.at(self.now + after, Happening::Timer(client, timer));
                }
                Output::Tell(other, timer) => self.at(self.now, Happening::Timer(other, timer)),
                Output::Send(node, topic, request) => {
                    let real = self.clients[client].real_node(node);
                    let life = self.connections.get(&(client, real)).copied().unwrap_or(0);
                    let message = Happening::Request(client, node, life, topic, request);
                    self.convey((client, real, true), message);
                }
            }
        }
    }

    /// Sends a message, or loses, delays or duplicates it.
    fn convey(&mut self, way: (usize, usize, bool), message: Happening) {
        let copy = match &message {
            Happening::Request(client, node, life, topic, request)
                // Connections do not repeat messages. Scripts tolerate repetition, plain commands
                // do not.
                if !matches!(request, Some(Command::Acquire(p)) if Store::is_taking(p))
                    && self.rng.percent(self.plan.duplicate) =>
            {
                Some(Happening::Request(
                    *client,
                    *node,
                    *life,
                    *topic,
                    request.clone(),
                ))
            }
            _ => None,
        };
        for message in [Some(message), copy].into_iter().flatten() {
            let is_reset = matches!(message, Happening::Response(.., Response::Reset(_)));
            if self.rng.percent(self.plan.drop) && !is_reset {
                continue;
            }
            let mut at = self.now + self.rng.within(0, self.plan.latency);
            if self.rng.percent(self.plan.delay) {
                at += self.rng.within(TTL / 20, 2 * TTL);
            }
            if self.plan.fifo {
                let last = self.last.entry(way).or_default();
                at = at.max(*last);
                *last = at;
            }
            self.at(at, message);
        }
    }

    fn fail(&mut self, whom: usize, fault: Fault) {
        let (node, client) = (whom % self.nodes.len(), whom % self.clients.len());
        let empty = self.empty.clone();
        let node = &mut self.nodes[node];
        match fault {
            Fault::Flush => node.store = empty,
            Fault::Empty(after) => node.restart(empty, self.now, after),
            Fault::Stale(after) => node.restart(node.snapshot.clone(), self.now, after),
            Fault::Snapshot => node.snapshot = node.store.clone(),
            Fault::Hang(time) => node.busy_until = self.now + time,
            Fault::Pause(time) => {
                self.stopped[client] = self.stopped[client].max(self.now + time);
            }
            Fault::Crash => {
                self.stopped[client] = u64::MAX;
                self.clients[client].crash(&mut self.checker);
            }
        }
        if !matches!(fault, Fault::Snapshot) {
            self.checker.counts.restarts += 1;
        }
    }
}

//! Nodes, clients and the network in virtual time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use redis_nodes::GroupTimer;

use crate::checker::{Checker, Counts};
use crate::client::Client;
use crate::machine::Machine;
use crate::message::{Output, Timer};
use crate::model::Store;
use crate::network::{Deed, Network, Shared, State};
use crate::node::{Session, SimNode};
use crate::plan::{Fault, Plan, Sabotage, TTL, names};
use crate::resp;
use crate::rng::Rng;

/// The delay until a connection accepts more bytes, in milliseconds.
const DRAIN: u64 = 1;

enum Happening {
    /// A connection reaches its node.
    Connected(usize),
    /// Bytes arrive at the node.
    Request(usize, Vec<u8>),
    /// Bytes arrive at the client.
    Reply(usize, Vec<u8>),
    /// The client notices that a connection is broken.
    Broken(usize),
    /// The connection accepts more bytes.
    Drained(usize),
    /// A timer of a group, with the number of times it had been started.
    GroupTimer(usize, GroupTimer, u64),
    Timer(usize, Timer),
    Fault(usize, Fault),
}

/// The network's state of a connection.
#[derive(Default)]
struct Line {
    /// The node's number of restarts when the connection was made.
    life: u64,
    session: Session,
    /// Whether no more data is transferred.
    is_cut: bool,
    /// When the last bytes arrive at the node and at the client, so that later ones do not overtake
    /// them.
    last: [u64; 2],
}

pub struct World {
    pub plan: Plan,
    pub now: u64,
    pub nodes: Vec<SimNode>,
    pub checker: Checker,
    /// The data of a node that has lost its own.
    empty: Store,
    clients: Vec<Client>,
    network: Shared,
    lines: Vec<Line>,
    /// How often each timer of each client's group has been started.
    timers: BTreeMap<(usize, bool), u64>,
    /// When each stopped or crashed client continues.
    stopped: Vec<u64>,
    /// Future events, by time and, at the same time, by number.
    agenda: BTreeMap<(u64, u64), Happening>,
    count: u64,
    rng: Rng,
    /// Whether no deleted data can come back.
    orderly: bool,
}

impl World {
    pub fn new(plan: Plan, sabotage: Option<Sabotage>, mut rng: Rng) -> Self {
        let empty = Store {
            ignore_fences: sabotage == Some(Sabotage::Fence),
            shortens: sabotage == Some(Sabotage::Shorten),
            unguarded: sabotage == Some(Sabotage::Guard),
            ..Store::default()
        };
        let machines = plan.clients.len() / plan.workers;
        let slots = plan.slots.len();
        let machines: Vec<_> = (0..machines)
            .map(|name| Machine::new(name, slots))
            .collect();
        let network = Rc::new(RefCell::new(Network::default()));
        let client = |id: usize| {
            let machine = Rc::clone(&machines[id / plan.workers]);
            let rng = Rng::new(rng.next());
            Client::new(id, &plan, machine, sabotage, rng, Rc::clone(&network))
        };
        let clients: Vec<Client> = (0..plan.clients.len()).map(client).collect();
        let node = |&clock| SimNode::new(clock, &empty, &names(), sabotage);
        let mut world = Self {
            now: 0,
            nodes: plan.node_clocks.iter().map(node).collect(),
            checker: Checker::default(),
            network,
            lines: vec![],
            timers: BTreeMap::new(),
            stopped: vec![0; clients.len()],
            clients,
            agenda: BTreeMap::new(),
            count: 0,
            rng,
            orderly: plan.is_orderly(),
            empty,
            plan,
        };
        for (at, whom, fault) in world.plan.faults.clone() {
            world.at(at, Happening::Fault(whom, fault));
        }
        world
    }

    /// Runs until there are no more events.
    pub fn run(&mut self) -> Counts {
        for client in 0..self.clients.len() {
            self.carry_out(client);
        }
        while let Some(((at, number), happening)) = self.agenda.pop_first() {
            self.now = at;
            self.network.borrow_mut().now = at;
            self.happen(number, happening);
        }
        for client in &self.clients {
            client.finish(&mut self.checker);
        }
        let restored = self.nodes.iter().map(|node| node.restored);
        self.checker.counts.restored = restored.sum();
        self.checker.counts
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.count += 1;
        self.agenda.insert((at, self.count), happening);
    }

    fn happen(&mut self, number: u64, happening: Happening) {
        if let Some(client) = self.client_of(&happening)
            && self.stopped[client] > self.now
        {
            if self.stopped[client] < u64::MAX {
                // With its old number, it comes before events that are created later.
                self.agenda
                    .insert((self.stopped[client], number), happening);
            }
            return;
        }
        match happening {
            Happening::Request(socket, bytes) => self.request(number, socket, bytes),
            Happening::Connected(socket) => {
                let mut network = self.network.borrow_mut();
                let socket_of = &mut network.sockets[socket];
                let node = &self.nodes[socket_of.real];
                self.lines[socket].life = node.life;
                socket_of.state = match node.down_until > self.now {
                    true => State::Refused,
                    false => State::Open,
                };
                drop(network);
                self.call(socket);
            }
            Happening::Reply(socket, bytes) => {
                self.network.borrow_mut().sockets[socket]
                    .arrived
                    .extend(bytes);
                self.call(socket);
            }
            Happening::Broken(socket) => {
                self.network.borrow_mut().sockets[socket].ended = true;
                self.call(socket);
            }
            Happening::Drained(socket) => self.call(socket),
            Happening::GroupTimer(client, timer, number) => {
                if self.timers.get(&(client, timer == GroupTimer::Wake)) == Some(&number) {
                    self.clients[client].group_timer(self.now, timer, &mut self.checker);
                    self.carry_out(client);
                }
            }
            Happening::Timer(client, timer) => {
                self.clients[client].timer(self.now, timer, &mut self.checker);
                self.carry_out(client);
            }
            Happening::Fault(whom, fault) => self.fail(whom, fault),
        }
    }

    /// The client that an event is for.
    fn client_of(&self, happening: &Happening) -> Option<usize> {
        match *happening {
            Happening::Connected(socket)
            | Happening::Reply(socket, _)
            | Happening::Broken(socket)
            | Happening::Drained(socket) => Some(self.network.borrow().sockets[socket].client),
            Happening::GroupTimer(client, ..) | Happening::Timer(client, _) => Some(client),
            Happening::Request(..) | Happening::Fault(..) => None,
        }
    }

    /// Calls the client of a connection, unless it has closed it.
    fn call(&mut self, socket: usize) {
        let network = self.network.borrow();
        let socket = &network.sockets[socket];
        let (client, node) = (socket.client, usize::from(socket.node.0));
        if socket.is_closed {
            return;
        }
        drop(network);
        self.clients[client].node_event(self.now, node, &mut self.checker);
        self.carry_out(client);
    }

    /// A node reads bytes, including those sent before its client closed the connection.
    fn request(&mut self, number: u64, socket: usize, bytes: Vec<u8>) {
        let real = self.network.borrow().sockets[socket].real;
        let (node, line) = (&mut self.nodes[real], &mut self.lines[socket]);
        if node.busy_until > self.now {
            let request = Happening::Request(socket, bytes);
            self.agenda.insert((node.busy_until, number), request);
            return;
        }
        if node.down_until > self.now || node.life != line.life {
            return;
        }
        let mut out = vec![];
        node.receive(&mut line.session, &bytes, self.now, &mut out);
        for nonce in node.released.drain(..) {
            self.checker.released(&nonce);
        }
        if self.orderly {
            self.checker.check_gone(self.now, &node.store);
        }
        let published = std::mem::take(&mut node.published);
        self.reply(socket, out);
        for (channel, text) in published {
            self.publish(real, &channel, &text);
        }
    }

    fn publish(&mut self, real: usize, channel: &str, text: &str) {
        for socket in 0..self.lines.len() {
            let line = &self.lines[socket];
            let is_of_node = self.network.borrow().sockets[socket].real == real;
            let listens = line.session.channels.iter().any(|known| known == channel);
            if is_of_node && listens && line.life == self.nodes[real].life {
                let mut out = vec![];
                resp::write_push(&["message", channel, text], &mut out);
                self.reply(socket, out);
            }
        }
    }

    fn reply(&mut self, socket: usize, mut bytes: Vec<u8>) {
        if bytes.is_empty() || self.network.borrow().sockets[socket].is_closed {
            return;
        }
        if self.rng.percent(10) {
            let rest = bytes.split_off(self.rng.within(0, bytes.len() as u64 - 1) as usize);
            self.convey(socket, 1, Happening::Reply(socket, bytes));
            bytes = rest;
        }
        self.convey(socket, 1, Happening::Reply(socket, bytes));
    }

    /// Executes the actions of a client on the network, and starts its timers.
    fn carry_out(&mut self, client: usize) {
        for output in self.clients[client].outputs() {
            match output {
                Output::Timer(after, timer) => {
                    self.at(self.now + after, Happening::Timer(client, timer));
                }
                Output::Tell(other, timer) => self.at(self.now, Happening::Timer(other, timer)),
            }
        }
        let deeds = std::mem::take(&mut self.network.borrow_mut().deeds);
        for deed in deeds {
            match deed {
                Deed::Connected(socket) => {
                    self.lines.push(Line::default());
                    self.convey(socket, 1, Happening::Connected(socket));
                }
                Deed::Written(socket) => self.send(socket),
                Deed::Timer(timer, after) => {
                    let number = self.timers.entry((client, timer == GroupTimer::Wake));
                    let number = *number.and_modify(|number| *number += 1).or_default();
                    let due = Happening::GroupTimer(client, timer, number);
                    self.at(self.now + after, due);
                }
            }
        }
    }

    fn send(&mut self, socket: usize) {
        let mut network = self.network.borrow_mut();
        let from = &mut network.sockets[socket];
        let mut bytes = std::mem::take(&mut from.written);
        let is_full = std::mem::take(&mut from.is_full);
        drop(network);
        if is_full {
            self.at(self.now + DRAIN, Happening::Drained(socket));
        }
        if self.rng.percent(10) {
            let rest = bytes.split_off(self.rng.within(0, bytes.len() as u64 - 1) as usize);
            self.convey(socket, 0, Happening::Request(socket, bytes));
            bytes = rest;
        }
        self.convey(socket, 0, Happening::Request(socket, bytes));
    }

    /// Schedules an event at the other end of a connection. It can be late or get lost.
    fn convey(&mut self, socket: usize, direction: usize, what: Happening) {
        if self.lines[socket].is_cut {
            return;
        }
        if self.rng.next() % 1_000 < self.plan.cut {
            return self.cut(socket);
        }
        let mut at = self.now + self.rng.within(0, self.plan.latency);
        if self.rng.percent(self.plan.delay) {
            at += self.rng.within(TTL / 20, 2 * TTL);
        }
        let last = &mut self.lines[socket].last[direction];
        at = at.max(*last);
        *last = at;
        self.at(at, what);
    }

    /// Cuts a connection. Data that is on its way still arrives; the client notices soon or never.
    fn cut(&mut self, socket: usize) {
        self.checker.counts.broken += 1;
        self.lines[socket].is_cut = true;
        if self.rng.percent(70) {
            let last = self.lines[socket].last[1];
            let at = last.max(self.now + self.rng.within(0, self.plan.latency));
            self.at(at, Happening::Broken(socket));
        }
    }

    fn fail(&mut self, whom: usize, fault: Fault) {
        let (real, client) = (whom % self.nodes.len(), whom % self.clients.len());
        let empty = self.empty.clone();
        let node = &mut self.nodes[real];
        match fault {
            Fault::Flush => node.store = empty,
            Fault::ForgetScripts => node.forget_scripts(),
            Fault::Empty(after) => node.restart(empty, self.now, after),
            Fault::Stale(after) => node.restart(node.snapshot.clone(), self.now, after),
            Fault::Snapshot => node.snapshot = node.store.clone(),
            Fault::ClockForward(by) => node.set_forward(by),
            Fault::Hang(time) => node.busy_until = node.busy_until.max(self.now + time),
            Fault::Pause(time) => {
                self.stopped[client] = self.stopped[client].max(self.now + time);
            }
            Fault::Crash => {
                self.stopped[client] = u64::MAX;
                self.clients[client].crash(&mut self.checker);
            }
        }
        if matches!(fault, Fault::Empty(_) | Fault::Stale(_)) {
            self.break_all(real);
        }
        if !matches!(fault, Fault::Snapshot) {
            self.checker.counts.restarts += 1;
        }
    }

    /// Breaks all connections to a node.
    fn break_all(&mut self, real: usize) {
        for socket in 0..self.lines.len() {
            let network = self.network.borrow();
            let of = &network.sockets[socket];
            let is_open = of.real == real && of.state == State::Open && !of.is_closed;
            drop(network);
            if is_open && !self.lines[socket].is_cut {
                self.cut(socket);
            }
        }
    }
}

//! A node: its connection, which is re-established in the background, and its state.

mod greeting;
mod report;

pub use report::{NodeCounts, NodeReport, NodeState};

use std::rc::Rc;

use openai_core::redlock::{
    Drift, Incarnation, Mistrust, NodeCheck, NodeCheckChange, NodeClock, NodeHealth, NodeId,
    ServerInfo, SuspectPolicy, Value, first_error,
};
use rustc_hash::FxHashMap;

use crate::link::{Arrival, Link};
use crate::transport::{NodeEvent, Transport};
use greeting::{Owed, greet, refusal};

/// The address and the login data of a node.
#[derive(Clone)]
pub struct NodeTarget<A> {
    /// The name in logs; contains no user or password.
    pub name: String,
    /// The address, in the transport's form.
    pub address: A,
    /// The user; `None` for Redis's default user.
    pub user: Option<String>,
    /// The password, if the node requires one.
    pub password: Option<Rc<zeroize::Zeroizing<String>>>,
    /// The number of the database.
    pub database: i64,
}

const RECONNECT_MIN_MS: u64 = 100;
const RECONNECT_MAX_MS: u64 = 5_000;
/// When a node that is down is logged again, if the reason is another one.
const ANOTHER_REASON_MS: u64 = 60_000;
const CONNECT_MS: u64 = 2_000;
/// How long attempts of a new worker wait for its first connections.
const FIRST_MS: u64 = 1_000;
/// How long a connection must last to reset the reconnection delay.
const LASTING_MS: u64 = 2_000;
/// How long a reply may be outstanding before the connection is closed.
const STALE_US: u64 = 5_000_000;
const CIRCUIT: SuspectPolicy = SuspectPolicy {
    suspect_after: 2,
    probe_min_ms: 200,
    probe_max_ms: 5_000,
};

enum Line<C, N> {
    Down {
        again_at: u64,
    },
    /// Connecting, or waiting for the replies to the first commands.
    Opening {
        link: Link<C, Owed<N>>,
        since: u64,
        owed: usize,
    },
    Open(Link<C, Owed<N>>),
}

/// A result of a node's connection.
pub enum Heard<N> {
    /// The reply to a command, and when it was pushed, in microseconds.
    Reply(N, Value, u64),
    /// The connection broke before the reply.
    Broken(N),
    /// Commands can be sent to the node from now on.
    Opened,
    /// A message on a subscribed channel.
    Message { channel: Vec<u8>, text: Vec<u8> },
}

/// Settings that all nodes of a group share.
#[derive(Clone)]
pub struct Rules {
    pub timeout_ms: u64,
    pub quarantine_ms: u64,
    pub bootstrap: bool,
    /// The allowance for clocks that run at different speeds.
    pub drift: Drift,
    /// The shortest TTL of a lock, in milliseconds.
    pub shortest_ttl_ms: u64,
    /// The channels to subscribe to.
    pub channels: Rc<[String]>,
    /// The packed commands of a node check, and their number.
    pub check: (Rc<[u8]>, usize),
}

pub struct Node<T: Transport, N> {
    id: NodeId,
    target: NodeTarget<T::Target>,
    line: Line<T::Connection, N>,
    health: NodeHealth,
    check: NodeCheck,
    incarnation: Incarnation,
    clock: NodeClock,
    rules: Rules,
    bootstrap: bool,
    /// Whether the node can push messages (RESP3).
    pushes: bool,
    /// Moving average, in microseconds.
    round_trip_us: Option<u64>,
    pub counts: NodeCounts,
    /// When the quarantine ends that the node has reported for a pool, by the prefix of the pool's
    /// names. In the past if it has none.
    quarantine: FxHashMap<String, u64>,
    /// Whether a reply was overdue at the last call of [`Node::tend`].
    was_stale: bool,
    /// When the connection was last opened, in milliseconds.
    opened: Option<u64>,
    failures: u32,
    /// When the node was last logged as down, and why; `None` after it was logged as up.
    logged_down: Option<(u64, String)>,
}

impl<T: Transport, N> Node<T, N> {
    pub fn new(id: NodeId, target: NodeTarget<T::Target>, rules: Rules) -> Self {
        Self {
            id,
            target,
            line: Line::Down { again_at: 0 },
            health: NodeHealth::new(CIRCUIT),
            check: NodeCheck::default(),
            incarnation: Incarnation::new(rules.quarantine_ms),
            clock: NodeClock::new(rules.drift, rules.shortest_ttl_ms),
            bootstrap: rules.bootstrap,
            rules,
            pushes: false,
            round_trip_us: None,
            counts: NodeCounts::default(),
            quarantine: FxHashMap::default(),
            was_stale: false,
            opened: None,
            failures: 0,
            logged_down: None,
        }
    }

    /// The name in logs.
    pub fn name(&self) -> &str {
        &self.target.name
    }

    /// Whether commands can be sent to it.
    pub fn is_open(&self) -> bool {
        matches!(self.line, Line::Open(_))
    }

    /// Whether it pushes messages.
    pub fn sends_messages(&self) -> bool {
        self.pushes
    }

    /// Whether to ask it for votes in a pool.
    pub fn votes(&self, pool: &str, now: u64) -> bool {
        self.state(pool, now) == NodeState::Up
    }

    /// Whether to ask it for votes if there is no quorum otherwise: it may also be suspect, or may
    /// have recovered from an error.
    pub fn may_vote(&self, pool: &str, now: u64) -> bool {
        matches!(
            self.state(pool, now),
            NodeState::Up | NodeState::Suspect | NodeState::Failing
        )
    }

    /// A report, for a pool.
    pub fn report(&self, pool: &str, now: u64) -> NodeReport<'_> {
        NodeReport {
            name: &self.target.name,
            state: self.state(pool, now),
            refuses: self.check.refuses().filter(|_| self.is_open()),
            round_trip_us: self.round_trip_us,
            counts: self.counts,
        }
    }

    fn state(&self, pool: &str, now: u64) -> NodeState {
        if self.is_open() && self.check.refuses().is_some() {
            return NodeState::Failing;
        }
        // Without an entry, its guard has not been read yet.
        let Some(&until) = self.quarantine.get(pool) else {
            return NodeState::Down;
        };
        let refuses = now < until;
        match &self.line {
            Line::Open(_) if refuses || !self.incarnation.is_trusted(now) => NodeState::Quarantined,
            Line::Open(_) if self.health.is_suspect() => NodeState::Suspect,
            Line::Open(_) => NodeState::Up,
            _ => NodeState::Down,
        }
    }

    /// Whether it may be able to vote soon: it is connecting, or was opened just now.
    pub fn is_settling(&self, now: u64) -> bool {
        let first = self.opened.is_none() && self.failures == 0;
        let (since, patience) = match self.line {
            Line::Opening { since, .. } if first => (since, FIRST_MS),
            Line::Opening { since, .. } => (since, 0),
            Line::Open(_) => (self.opened.unwrap_or_default(), 0),
            Line::Down { .. } => return false,
        };
        now <= since + patience.max(self.rules.timeout_ms)
    }

    /// Whether it is connected and has reported a quarantine for a pool that has not ended.
    pub fn is_confined(&self, pool: &str, now: u64) -> bool {
        self.is_open() && self.quarantine.get(pool).is_some_and(|&until| now < until)
    }

    /// Sends commands, whose replies are combined under one name. Returns the name if the node is
    /// not connected.
    pub fn send(&mut self, packed: &[u8], commands: usize, name: N, now_us: u64) -> Result<(), N> {
        self.push(packed, commands, Owed::Command(name), now_us)
    }

    fn push(
        &mut self,
        packed: &[u8],
        commands: usize,
        owed: Owed<N>,
        now_us: u64,
    ) -> Result<(), N> {
        let refused = match &mut self.line {
            Line::Open(link) => link.push(packed, commands, owed, now_us).err(),
            _ => Some(owed),
        };
        match refused {
            Some(Owed::Command(command)) => Err(command),
            _ => Ok(()),
        }
    }

    pub fn timed_out(&mut self, now: u64, random: u64) {
        self.counts.timeouts += 1;
        self.health.timed_out(now, random);
    }

    /// Sends buffered commands.
    pub fn flush(&mut self, now: u64, transport: &mut T, heard: &mut Vec<Heard<N>>) {
        let sent = match &mut self.line {
            Line::Open(link) | Line::Opening { link, .. } => link.flush(),
            Line::Down { .. } => return,
        };
        if let Err(error) = sent {
            self.close(now, &error.to_string(), transport, heard);
        }
    }

    /// Processes received data.
    pub fn arrived(&mut self, now: u64, transport: &mut T, heard: &mut Vec<Heard<N>>) {
        self.flush(now, transport, heard);
        let now_us = transport.clock_us();
        loop {
            let next = match &mut self.line {
                Line::Open(link) | Line::Opening { link, .. } => link.next(now_us),
                Line::Down { .. } => return,
            };
            match next {
                Ok(None) => return,
                Ok(Some(Arrival::Message(data))) => heard.extend(message(data)),
                Ok(Some(Arrival::Reply(owed, after_us, reply))) => {
                    self.note_round_trip(after_us, now);
                    if let Owed::Hello = owed {
                        // Servers before Redis 6 have no RESP3; they are asked periodically
                        // instead.
                        self.pushes = matches!(reply, Value::Array(_));
                    }
                    let sent_us = now_us.saturating_sub(after_us);
                    let answered = self.answered(owed, reply, sent_us, now, transport, heard);
                    if let Err(reason) = answered {
                        return self.close(now, &reason, transport, heard);
                    }
                }
                Err(error) => return self.close(now, &error.to_string(), transport, heard),
            }
        }
    }

    fn note_round_trip(&mut self, after_us: u64, now: u64) {
        // Attempts must not wait for a node that always answers late.
        if after_us <= self.rules.timeout_ms * 1_000 {
            self.health.answered();
        } else if self.health.is_suspect() {
            // The reply may be that of a probe: schedule the next one.
            self.health.timed_out(now, now);
        }
        // Replies to the first commands do not show whether the node still has its data.
        if self.is_open() {
            if self.opened.is_some_and(|at| at + LASTING_MS < now) {
                self.failures = 0;
            }
            self.incarnation.answered(now);
            let before = self.round_trip_us.unwrap_or(after_us);
            self.round_trip_us = Some(before - before / 8 + after_us / 8);
        }
    }

    fn answered(
        &mut self,
        owed: Owed<N>,
        reply: Value,
        sent_us: u64,
        now: u64,
        transport: &mut T,
        heard: &mut Vec<Heard<N>>,
    ) -> Result<(), String> {
        match owed {
            Owed::Command(command) => {
                if first_error(&reply).is_some() {
                    self.check.check_soon();
                }
                heard.push(Heard::Reply(command, reply, sent_us));
            }
            Owed::NodeCheck => self.tried(&reply, sent_us, now, transport),
            Owed::Probe | Owed::Hello => {}
            Owed::Subscribe => self.pushes &= !matches!(reply, Value::Error(_)),
            Owed::Info => self.learn(&reply, now)?,
            Owed::Auth | Owed::Select | Owed::Script => {
                if let Value::Error(kind) = reply {
                    return Err(refusal(&owed, kind));
                }
            }
        }
        if self.settle(transport) {
            self.opened = Some(now);
            self.subscribe(transport.clock_us());
            self.check = NodeCheck::default();
            self.try_out(now, transport.clock_us());
            heard.push(Heard::Opened);
        }
        Ok(())
    }

    fn learn(&mut self, reply: &Value, now: u64) -> Result<(), String> {
        let text = match reply {
            Value::Bytes(text) => text,
            Value::Error(kind) => return Err(format!("INFO was refused: {kind:?}")),
            _ => return Err("no answer to INFO".into()),
        };
        let info = ServerInfo::parse(&String::from_utf8_lossy(text));
        let info = info.and_then(|info| info.check().map(|()| info));
        let info = info.map_err(|e: Mistrust| e.to_string())?;
        self.incarnation.connected(&info, now);
        // Only at the first connection: a node that comes back later without data must wait.
        if std::mem::take(&mut self.bootstrap) {
            self.incarnation.bootstrap();
        }
        Ok(())
    }

    /// Counts a reply to the first commands. Opens the node after the last one, and returns whether
    /// it did.
    fn settle(&mut self, transport: &mut T) -> bool {
        let Line::Opening { owed, .. } = &mut self.line else {
            return false;
        };
        *owed = owed.saturating_sub(1);
        if *owed > 0 {
            return false;
        }
        let Line::Opening { link, .. } =
            std::mem::replace(&mut self.line, Line::Down { again_at: 0 })
        else {
            return false;
        };
        self.line = Line::Open(link);
        if self.logged_down.take().is_some() {
            transport.log(&self.target.name, NodeEvent::Up);
        }
        true
    }

    fn subscribe(&mut self, now_us: u64) {
        if !self.pushes {
            return;
        }
        for channel in Rc::clone(&self.rules.channels).iter() {
            let mut subscribe = redis::cmd("SUBSCRIBE");
            subscribe.arg(channel);
            let _ = self.push(&subscribe.get_packed_command(), 1, Owed::Subscribe, now_us);
        }
    }

    /// Notes that the node has reported a quarantine for a pool until the given time.
    pub fn in_quarantine(&mut self, pool: &str, until: u64) {
        self.quarantine.insert(pool.to_owned(), until);
    }

    /// Maintains the connection and checks the node. Call it periodically.
    pub fn tend(&mut self, now: u64, random: u64, transport: &mut T, heard: &mut Vec<Heard<N>>) {
        match &mut self.line {
            Line::Down { again_at } if *again_at <= now => self.open(now, random, transport),
            Line::Down { .. } => {}
            Line::Opening { since, .. } if *since + CONNECT_MS < now => {
                self.close(now, "no connection in time", transport, heard);
            }
            Line::Opening { .. } => {}
            Line::Open(link) => {
                // Only at the second time: after this process was stopped, replies may have arrived
                // that have not been read.
                let now_us = transport.clock_us();
                let stale = link.owing_us(now_us).is_some_and(|owing| owing > STALE_US);
                if stale && std::mem::replace(&mut self.was_stale, stale) {
                    return self.close(now, "no answer", transport, heard);
                }
                self.was_stale = stale;
                let probes = self.health.probe(now);
                if probes {
                    let ping = redis::cmd("PING").get_packed_command();
                    let _ = self.push(&ping, 1, Owed::Probe, now_us);
                }
                if self.try_out(now, now_us) || probes {
                    self.flush(now, transport, heard);
                }
            }
        }
    }

    /// Sends a node check if one is due; returns whether it was.
    fn try_out(&mut self, now: u64, now_us: u64) -> bool {
        let due = self.check.is_due(now);
        if due {
            let (packed, commands) = self.rules.check.clone();
            let _ = self.push(&packed, commands, Owed::NodeCheck, now_us);
        }
        due
    }

    /// Whether its votes count, as far as its process and its clock are concerned.
    pub fn is_trusted(&self, now: u64) -> bool {
        self.incarnation.is_trusted(now)
    }

    /// Notes the node's time in a reply to a command pushed at `sent_us`. If its clock was set
    /// forward, it is put in quarantine.
    pub fn read_clock(&mut self, node_ms: u64, sent_us: u64, now: u64, transport: &mut T) {
        // Not the time when the event began: this process may have been stopped since.
        let received_us = transport.clock_us();
        if let Some(by_ms) = self.clock.read(node_ms, sent_us, received_us) {
            self.incarnation.distrust(now);
            transport.log(&self.target.name, NodeEvent::ClockJumped { by_ms });
        }
    }

    fn tried(&mut self, reply: &Value, sent_us: u64, now: u64, transport: &mut T) {
        if let Some(node_ms) = NodeCheck::time(reply) {
            self.read_clock(node_ms, sent_us, now, transport);
        }
        let event = match self.check.answered(reply, now) {
            Some(NodeCheckChange::Failing(error)) => NodeEvent::Failing { error },
            Some(NodeCheckChange::Recovered) => NodeEvent::Voting,
            None => return,
        };
        transport.log(&self.target.name, event);
    }

    fn open(&mut self, now: u64, random: u64, transport: &mut T) {
        match transport.connect(&self.target.address, self.id) {
            Ok(connection) => {
                let mut link = Link::new(connection);
                let owed = greet(&mut link, &self.target, transport.clock_us());
                self.line = Line::Opening {
                    link,
                    since: now,
                    owed,
                };
            }
            Err(error) => self.down(now, random, &error.to_string(), transport),
        }
    }

    fn close(&mut self, now: u64, reason: &str, transport: &mut T, heard: &mut Vec<Heard<N>>) {
        let line = std::mem::replace(&mut self.line, Line::Down { again_at: now });
        self.down(now, now, reason, transport);
        if let Line::Open(link) | Line::Opening { link, .. } = line {
            heard.extend(link.into_waiting().filter_map(|owed| match owed {
                Owed::Command(command) => Some(Heard::Broken(command)),
                _ => None,
            }));
        }
    }

    fn down(&mut self, now: u64, random: u64, reason: &str, transport: &mut T) {
        let delay = RECONNECT_MIN_MS << self.failures.min(6);
        let delay = delay.min(RECONNECT_MAX_MS);
        self.failures += 1;
        self.line = Line::Down {
            again_at: now + delay + random % (delay / 4 + 1),
        };
        let is_due = self.logged_down.as_ref().is_none_or(|(at, logged)| {
            logged != reason && now >= at.saturating_add(ANOTHER_REASON_MS)
        });
        if is_due {
            self.logged_down = Some((now, reason.to_owned()));
            transport.log(&self.target.name, NodeEvent::Down { reason });
        }
    }
}

fn message<N>(parts: Vec<Value>) -> Option<Heard<N>> {
    match <[Value; 3]>::try_from(parts).ok()? {
        [
            Value::Bytes(kind),
            Value::Bytes(channel),
            Value::Bytes(text),
        ] if kind == b"message" => Some(Heard::Message { channel, text }),
        _ => None,
    }
}

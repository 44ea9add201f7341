//! A node: its connection, kept up in the background, and what is known of it.

mod greeting;
mod report;

pub use report::{NodeCounts, NodeReport, NodeState};

use std::rc::Rc;
use std::time::Duration;

use nginx_safe::{Address, Level, Tls};
use openai_core::redlock::{
    CircuitPolicy, Durability, Incarnation, Mistrust, NodeHealth, ServerInfo, Trial, TrialNews,
    Value, first_error,
};
use rustc_hash::FxHashMap;
use serde_json::json;

use super::link::{Arrival, Link};
use greeting::{Owed, greet, refusal};

use crate::telemetry::event;

/// Where a node is, and what it wants to know of us.
#[derive(Clone)]
pub struct NodeTarget {
    /// For logs: without user and password.
    pub name: String,
    pub address: Address,
    pub tls: Option<Tls>,
    pub user: Option<String>,
    pub password: Option<Rc<zeroize::Zeroizing<String>>>,
    pub database: i64,
}

const RECONNECT_MIN_MS: u64 = 100;
const RECONNECT_MAX_MS: u64 = 5_000;
const CONNECT_MS: u64 = 2_000;
/// How long a worker that has just begun waits for its first connections.
const FIRST_MS: u64 = 1_000;
/// A connection that has lasted for so long is no failure.
const LASTING_MS: u64 = 2_000;
/// A connection that owes a reply for so long is given up.
const STALE: Duration = Duration::from_secs(5);
const CIRCUIT: CircuitPolicy = CircuitPolicy {
    suspect_after: 2,
    probe_min_ms: 200,
    probe_max_ms: 5_000,
};

enum Line<T> {
    Down {
        again_at: u64,
    },
    /// Connecting, or being set up.
    Opening {
        link: Link<Owed<T>>,
        since: u64,
        owed: usize,
    },
    Open(Link<Owed<T>>),
}

/// What happened on a node.
pub enum Heard<T> {
    Reply(T, Value),
    /// The connection broke before the reply.
    Broken(T),
    /// It can be sent commands from now on.
    Opened,
    /// A channel that was subscribed to says this.
    Message {
        channel: Vec<u8>,
        text: Vec<u8>,
    },
}

/// What all nodes of a group are treated by.
#[derive(Clone)]
pub struct Rules {
    pub timeout_ms: u64,
    pub quarantine_ms: u64,
    pub bootstrap: bool,
    /// What to subscribe to.
    pub channels: Rc<[String]>,
    /// What a node is tried with: packed, and how many commands.
    pub trial: (Rc<[u8]>, usize),
}

pub struct Node<T> {
    target: NodeTarget,
    line: Line<T>,
    health: NodeHealth,
    trial: Trial,
    incarnation: Incarnation,
    rules: Rules,
    bootstrap: bool,
    /// Whether it sends messages beside replies.
    pushes: bool,
    /// Smoothed, in microseconds.
    round_trip_us: Option<u64>,
    pub counts: NodeCounts,
    /// Until when it has said that it grants nothing in a pool, by the beginning of
    /// the pool's names.
    quarantine: FxHashMap<String, u64>,
    /// Whether it owed an answer for too long when last seen to.
    was_stale: bool,
    /// When it was last opened.
    opened: Option<u64>,
    failures: u32,
    call: fn(u64),
    argument: u64,
    said_down: bool,
}

impl<T> Node<T> {
    pub fn new(target: NodeTarget, rules: Rules, call: fn(u64), argument: u64) -> Self {
        Self {
            target,
            line: Line::Down { again_at: 0 },
            health: NodeHealth::new(CIRCUIT),
            trial: Trial::default(),
            incarnation: Incarnation::new(Durability::Lossy, rules.quarantine_ms),
            bootstrap: rules.bootstrap,
            rules,
            pushes: false,
            round_trip_us: None,
            counts: NodeCounts::default(),
            quarantine: FxHashMap::default(),
            was_stale: false,
            opened: None,
            failures: 0,
            call,
            argument,
            said_down: false,
        }
    }

    /// Whether commands can be sent to it.
    pub fn is_open(&self) -> bool {
        matches!(self.line, Line::Open(_))
    }

    /// Whether it tells by itself what others have told it.
    pub fn sends_messages(&self) -> bool {
        self.pushes
    }

    /// Whether it is worth asking for a vote in a pool.
    pub fn votes(&self, pool: &str, now: u64) -> bool {
        self.state(pool, now) == NodeState::Up
    }

    /// Whether it may be asked when too few others vote: a suspect, or one that may do
    /// again what it is asked.
    pub fn may_vote(&self, pool: &str, now: u64) -> bool {
        matches!(
            self.state(pool, now),
            NodeState::Up | NodeState::Suspect | NodeState::Failing
        )
    }

    /// How it does, for a pool.
    pub fn report(&self, pool: &str, now: u64) -> NodeReport<'_> {
        NodeReport {
            name: &self.target.name,
            state: self.state(pool, now),
            refuses: self.trial.refuses().filter(|_| self.is_open()),
            round_trip_us: self.round_trip_us,
            counts: self.counts,
        }
    }

    fn state(&self, pool: &str, now: u64) -> NodeState {
        if self.is_open() && self.trial.refuses().is_some() {
            return NodeState::Failing;
        }
        // Its guard has to be looked at first.
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

    /// Whether it is coming up, and may vote in a moment.
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

    /// Whether it has said that it grants nothing in a pool for now.
    pub fn is_confined(&self, pool: &str, now: u64) -> bool {
        self.is_open() && self.quarantine.get(pool).is_some_and(|&until| now < until)
    }

    /// Sends commands that go by one name; gives it back when there is no connection
    /// for them.
    pub fn send(&mut self, packed: &[u8], commands: usize, name: T) -> Result<(), T> {
        self.push(packed, commands, Owed::Command(name))
    }

    fn push(&mut self, packed: &[u8], commands: usize, owed: Owed<T>) -> Result<(), T> {
        let refused = match &mut self.line {
            Line::Open(link) => link.push(packed, commands, owed).err(),
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

    /// Sends what is waiting to be sent.
    pub fn flush(&mut self, now: u64, heard: &mut Vec<Heard<T>>) {
        let sent = match &mut self.line {
            Line::Open(link) | Line::Opening { link, .. } => link.flush(),
            Line::Down { .. } => return,
        };
        if let Err(error) = sent {
            self.close(now, &error.to_string(), heard);
        }
    }

    /// Takes in what has arrived.
    pub fn arrived(&mut self, now: u64, heard: &mut Vec<Heard<T>>) {
        self.flush(now, heard);
        loop {
            let next = match &mut self.line {
                Line::Open(link) | Line::Opening { link, .. } => link.next(),
                Line::Down { .. } => return,
            };
            match next {
                Ok(None) => return,
                Ok(Some(Arrival::Message(data))) => heard.extend(message(data)),
                Ok(Some(Arrival::Reply(owed, after, reply))) => {
                    self.note_round_trip(after, now);
                    if let Owed::Hello = owed {
                        // An older server knows no pushes, and is asked now and then.
                        self.pushes = matches!(reply, Value::Array(_));
                    }
                    if let Err(reason) = self.answered(owed, reply, now, heard) {
                        return self.close(now, &reason, heard);
                    }
                }
                Err(error) => return self.close(now, &error.to_string(), heard),
            }
        }
    }

    fn note_round_trip(&mut self, after: Duration, now: u64) {
        // One that always answers late is not to be waited for.
        if after <= Duration::from_millis(self.rules.timeout_ms) {
            self.health.answered();
        } else if self.health.is_suspect() {
            // A probe, maybe: the next one may be in time.
            self.health.timed_out(now, now);
        }
        // The greetings' answers tell nothing yet of what it remembers.
        if self.is_open() {
            if self.opened.is_some_and(|at| at + LASTING_MS < now) {
                self.failures = 0;
            }
            self.incarnation.answered(now);
            let us = after.as_micros() as u64;
            let before = self.round_trip_us.unwrap_or(us);
            self.round_trip_us = Some(before - before / 8 + us / 8);
        }
    }

    fn answered(
        &mut self,
        owed: Owed<T>,
        reply: Value,
        now: u64,
        heard: &mut Vec<Heard<T>>,
    ) -> Result<(), String> {
        match owed {
            Owed::Command(command) => {
                if first_error(&reply).is_some() {
                    self.trial.hurry();
                }
                heard.push(Heard::Reply(command, reply));
            }
            Owed::Trial => self.tried(&reply, now),
            Owed::Probe | Owed::Hello => {}
            Owed::Subscribe => self.pushes &= !matches!(reply, Value::Error(_)),
            Owed::Info => self.learn(&reply, now)?,
            Owed::Auth | Owed::Select | Owed::Script => {
                if let Value::Error(kind) = reply {
                    return Err(refusal(&owed, kind));
                }
            }
        }
        if self.settle() {
            self.opened = Some(now);
            self.subscribe();
            self.trial = Trial::default();
            self.try_out(now);
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
        // Only at first sight: one that comes back empty later has to wait.
        if std::mem::take(&mut self.bootstrap) {
            self.incarnation.bootstrap();
        }
        Ok(())
    }

    /// Open once all that was sent to set it up has been answered; tells when it
    /// has become so.
    fn settle(&mut self) -> bool {
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
        if std::mem::take(&mut self.said_down) {
            event(
                Level::Warn,
                "redis_node_up",
                json!({ "node": self.target.name }),
            );
        }
        true
    }

    fn subscribe(&mut self) {
        if !self.pushes {
            return;
        }
        for channel in Rc::clone(&self.rules.channels).iter() {
            let mut subscribe = redis::cmd("SUBSCRIBE");
            subscribe.arg(channel);
            let _ = self.push(&subscribe.get_packed_command(), 1, Owed::Subscribe);
        }
    }

    /// The node says itself that it grants nothing in a pool until then.
    pub fn in_quarantine(&mut self, pool: &str, until: u64) {
        self.quarantine.insert(pool.to_owned(), until);
    }

    /// Keeps the connection up; to be called now and then.
    pub fn tend(&mut self, now: u64, random: u64, heard: &mut Vec<Heard<T>>) {
        match &mut self.line {
            Line::Down { again_at } if *again_at <= now => self.open(now, random),
            Line::Down { .. } => {}
            Line::Opening { since, .. } if *since + CONNECT_MS < now => {
                self.close(now, "no connection in time", heard);
            }
            Line::Opening { .. } => {}
            Line::Open(link) => {
                // Twice: after a standstill of ours the answers are there, unread.
                let stale = link.owing().is_some_and(|owing| owing > STALE);
                if stale && std::mem::replace(&mut self.was_stale, stale) {
                    return self.close(now, "no answer", heard);
                }
                self.was_stale = stale;
                let probes = self.health.probe(now);
                if probes {
                    let ping = redis::cmd("PING").get_packed_command();
                    let _ = self.push(&ping, 1, Owed::Probe);
                }
                if self.try_out(now) || probes {
                    self.flush(now, heard);
                }
            }
        }
    }

    /// Has it do what changes nothing, if it is time; whether it was.
    fn try_out(&mut self, now: u64) -> bool {
        let due = self.trial.is_due(now);
        if due {
            let (packed, commands) = self.rules.trial.clone();
            let _ = self.push(&packed, commands, Owed::Trial);
        }
        due
    }

    fn tried(&mut self, reply: &Value, now: u64) {
        let node = &self.target.name;
        match self.trial.answered(reply, now) {
            Some(TrialNews::Refuses(why)) => {
                let fields = json!({ "node": node, "error": why.as_str() });
                event(Level::Error, "redis_node_failing", fields);
            }
            Some(TrialNews::Obeys) => {
                event(Level::Warn, "redis_node_voting", json!({ "node": node }));
            }
            None => {}
        }
    }

    fn open(&mut self, now: u64, random: u64) {
        let target = &self.target;
        match Link::connect(
            &target.address,
            target.tls.as_ref(),
            self.call,
            self.argument,
        ) {
            Ok(mut link) => {
                let owed = greet(&mut link, &self.target);
                self.line = Line::Opening {
                    link,
                    since: now,
                    owed,
                };
            }
            Err(error) => self.down(now, random, &error.to_string()),
        }
    }

    fn close(&mut self, now: u64, reason: &str, heard: &mut Vec<Heard<T>>) {
        let line = std::mem::replace(&mut self.line, Line::Down { again_at: now });
        self.down(now, now, reason);
        if let Line::Open(link) | Line::Opening { link, .. } = line {
            heard.extend(link.into_waiting().filter_map(|owed| match owed {
                Owed::Command(command) => Some(Heard::Broken(command)),
                _ => None,
            }));
        }
    }

    fn down(&mut self, now: u64, random: u64, reason: &str) {
        let delay = RECONNECT_MIN_MS << self.failures.min(6);
        let delay = delay.min(RECONNECT_MAX_MS);
        self.failures += 1;
        self.line = Line::Down {
            again_at: now + delay + random % (delay / 4 + 1),
        };
        if !std::mem::replace(&mut self.said_down, true) {
            let fields = json!({ "node": self.target.name, "reason": reason });
            event(Level::Error, "redis_node_down", fields);
        }
    }
}

fn message<T>(parts: Vec<Value>) -> Option<Heard<T>> {
    match <[Value; 3]>::try_from(parts).ok()? {
        [
            Value::Bytes(kind),
            Value::Bytes(channel),
            Value::Bytes(text),
        ] if kind == b"message" => Some(Heard::Message { channel, text }),
        _ => None,
    }
}

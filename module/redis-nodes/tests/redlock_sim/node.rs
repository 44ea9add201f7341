//! A node: its data, clock and restarts, and the commands that it implements.

use std::collections::HashMap;
use std::sync::LazyLock;

use openai_core::redlock::{
    Candidates, Command, Enlist, ErrorKind, Fence, Holder, Nonce, PoolNames, Priority, Proposal,
    ReleaseCommand, RenewCommand, Script, Slot, SlotLock, Value,
};

use crate::model::Store;
use crate::plan::{Clock, Sabotage};
use crate::resp;

/// The uptime of nodes at the start of a history, in seconds.
const UPTIME: u64 = 1_000;

static DIGESTS: LazyLock<HashMap<String, Script>> = LazyLock::new(|| {
    let digest = |script: Script| redis::Script::new(script.source()).get_hash().to_owned();
    let scripts = Script::ALL.into_iter();
    scripts.map(|script| (digest(script), script)).collect()
});

/// The state of a connection on the node.
#[derive(Default)]
pub struct Session {
    /// The received part of an incomplete request.
    inbox: Vec<u8>,
    pub channels: Vec<String>,
}

pub struct SimNode {
    pub store: Store,
    pub snapshot: Store,
    pub clock: Clock,
    /// The number of its restarts. Connections from before a restart are broken.
    pub life: u64,
    started: u64,
    pub busy_until: u64,
    pub down_until: u64,
    /// The scripts in its cache.
    scripts: Vec<Script>,
    /// Whether it hides its restarts.
    hides_restarts: bool,
    /// Whether it does not show steps of its clock.
    hides_steps: bool,
    names: PoolNames,
    /// The number of locks that renewals have restored.
    pub restored: u64,
    /// The nonces of released locks.
    pub released: Vec<String>,
    /// Messages to be sent to subscribers: channel and text.
    pub published: Vec<(String, String)>,
}

impl SimNode {
    pub fn new(clock: Clock, empty: &Store, names: &PoolNames, sabotage: Option<Sabotage>) -> Self {
        let store = Store {
            // The node was in use long before the history.
            guard: Some(0),
            ..empty.clone()
        };
        Self {
            snapshot: store.clone(),
            store,
            clock,
            life: 0,
            started: 0,
            busy_until: 0,
            down_until: 0,
            scripts: vec![],
            hides_restarts: sabotage == Some(Sabotage::Incarnation),
            hides_steps: sabotage == Some(Sabotage::Clock),
            names: names.clone(),
            restored: 0,
            released: vec![],
            published: vec![],
        }
    }

    /// Kills the node and restarts it later with this data.
    pub fn restart(&mut self, store: Store, now: u64, after: u64) {
        self.store = store;
        self.life += 1;
        self.started = now;
        self.down_until = now + after;
        self.busy_until = 0;
        self.scripts.clear();
    }

    /// Sets the clock forward.
    pub fn set_forward(&mut self, by: u64) {
        self.clock.set_forward(by);
        if self.hides_steps {
            self.store.hidden += by;
        }
    }

    /// `SCRIPT FLUSH`.
    pub fn forget_scripts(&mut self) {
        self.scripts.clear();
    }

    /// Executes the commands that these bytes complete, and writes the replies.
    pub fn receive(&mut self, session: &mut Session, bytes: &[u8], now: u64, out: &mut Vec<u8>) {
        let mut inbox = std::mem::take(&mut session.inbox);
        inbox.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some((words, length)) = resp::request(&inbox[taken..]) {
            if let ["SUBSCRIBE", channel] = words[..] {
                session.channels.push(channel.to_owned());
                resp::write_push(&["subscribe", channel, "1"], out);
            } else {
                resp::write(&self.run(&words, now), out);
            }
            taken += length;
        }
        inbox.drain(..taken);
        session.inbox = inbox;
        for (instance, text) in std::mem::take(&mut self.store.woken) {
            let channel = self.names.wake_channel(&instance).unwrap();
            self.published.push((channel, text));
        }
    }

    fn run(&mut self, words: &[&str], now: u64) -> Value {
        let local = self.clock.at(now);
        let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        match words {
            ["HELLO", "3"] => Value::Array(vec![bytes("server"), bytes("redis")]),
            ["INFO"] => bytes(&self.info(now)),
            ["PING"] => bytes("PONG"),
            ["SCRIPT", "LOAD", source] => {
                let known = Script::ALL.into_iter();
                let script = { known }.find(|script| script.source() == *source).unwrap();
                if !self.scripts.contains(&script) {
                    self.scripts.push(script);
                }
                bytes("digest")
            }
            ["SET", lock, meta, "NX", "PX", ttl] => {
                let (_, field) = lock.split_once("l:").unwrap();
                self.store
                    .set_if_free(field, meta, ttl.parse().unwrap(), local)
            }
            ["ZADD", _, "GT", "CH", fence, field] => {
                self.store.raise_fence(field, fence.parse().unwrap())
            }
            ["GET", _] => self.store.guard(),
            ["PTTL", _] => self.store.guard_ttl(local - self.store.hidden),
            // The commands of a node check.
            ["SET", _, _, "XX", ..] => Value::Nil,
            ["ZADD", _, "XX", ..] => Value::Int(0),
            ["EVALSHA", digest, rest @ ..] => match DIGESTS.get(*digest) {
                Some(script) if self.scripts.contains(script) => self.call(*script, rest, local),
                _ => Value::Error(ErrorKind::NoScript),
            },
            ["EVAL", source, rest @ ..] => {
                let known = Script::ALL.into_iter();
                let script = { known }.find(|script| script.source() == *source).unwrap();
                self.scripts.push(script);
                self.call(script, rest, local)
            }
            _ => panic!("no node knows {words:?}"),
        }
    }

    fn info(&self, now: u64) -> String {
        let (life, up) = match self.hides_restarts {
            true => (0, now),
            false => (self.life, now - self.started),
        };
        let earlier = if life == 0 { UPTIME } else { 0 };
        let uptime = self.clock.at(up).saturating_sub(self.clock.at(0)) / 1_000 + earlier;
        format!("run_id:{life}\r\nuptime_in_seconds:{uptime}\r\nrole:master\r\n")
    }

    fn call(&mut self, script: Script, words: &[&str], now: u64) -> Value {
        let (keys, args) = words[1..].split_at(words[0].parse().unwrap());
        let slots = |fields: &[&str]| fields.iter().map(|field| slot(field)).collect::<Vec<_>>();
        let command = match script {
            Script::Acquire => {
                let (quarantine_ms, bootstrap) = (number(args[4]), args[5] == "1");
                let slots = slots(&args[6..]);
                if slots.is_empty() {
                    return self.store.look_at_guard(quarantine_ms, bootstrap, now);
                }
                let meta: Vec<_> = args[3].split('\n').collect();
                let proposal = Proposal {
                    candidates: Candidates::in_order(slots).unwrap(),
                    nonce: nonce(args[0]),
                    ttl_ms: number(args[1]),
                    fence: fence(args[2]),
                    holder: Holder::new(meta[3], meta[4], number(meta[2])),
                    quarantine_ms,
                    bootstrap,
                };
                Command::Acquire(proposal.into())
            }
            Script::Release => {
                self.released.push(args[0].to_owned());
                Command::Release(ReleaseCommand {
                    slots: slots(&args[3..]).into(),
                    nonce: nonce(args[0]),
                    ends: Some(fence(args[2])).filter(|fence| fence.get() > 0),
                })
            }
            Script::Renew => {
                let lease = |words: &[&str]| SlotLock {
                    slot: slot(words[0]),
                    nonce: nonce(words[1]),
                    fence: fence(words[2]),
                    deadline_ms: 0,
                };
                Command::Renew(RenewCommand {
                    leases: args[1..].chunks(3).map(lease).collect(),
                    ttl_ms: number(args[0]),
                })
            }
            Script::Enqueue => {
                let (instance, ticket) = args[0].rsplit_once(':').unwrap();
                let ticket = u64::from_str_radix(ticket, 16).unwrap();
                let priority = Priority::nearest(1_000 - number(args[1]) as i32);
                Command::Enqueue(Enlist::new(instance, ticket, priority, number(args[2])).unwrap())
            }
            Script::Leave => Command::Leave {
                waiter: args[0].to_owned(),
            },
            Script::List if keys.is_empty() => Command::List { slots: [].into() },
            _ => panic!("no client calls {script:?}"),
        };
        let value = self.store.run(&command, now);
        if let (Script::Renew, Value::Array(votes)) = (script, &value) {
            let restored = votes.iter().filter(|&vote| *vote == Value::Int(2));
            self.restored += restored.count() as u64;
        }
        value
    }
}

fn slot(field: &str) -> Slot {
    let (key, ordinal) = field.rsplit_once(':').unwrap();
    Slot::new(key, ordinal.parse().unwrap()).unwrap()
}

fn nonce(text: &str) -> Nonce {
    Nonce(u128::from_str_radix(text, 16).unwrap())
}

fn fence(text: &str) -> Fence {
    Fence::new(number(text)).unwrap()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

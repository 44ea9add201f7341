//! A simulated node: its data, clock and restarts.

use openai_core::redlock::{Command, ServerInfo, Value};

use crate::message::{Request, Response};
use crate::model::Store;
use crate::plan::Clock;

pub struct SimNode {
    pub store: Store,
    pub snapshot: Store,
    pub clock: Clock,
    /// Number of restarts; messages on older connections fail.
    pub life: u64,
    started: u64,
    pub busy_until: u64,
    down_until: u64,
}

impl SimNode {
    pub fn new(clock: Clock, empty: &Store) -> Self {
        let store = Store {
            // The node has been in use for long.
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
        }
    }

    fn info(&self, now: u64) -> ServerInfo {
        ServerInfo {
            run_id: self.life.to_string(),
            uptime_s: self
                .clock
                .at(now)
                .saturating_sub(self.clock.at(self.started))
                / 1_000,
            ..ServerInfo::default()
        }
    }

    /// Answers a request, unless the node is down.
    pub fn serve(&mut self, now: u64, life: u64, request: Request) -> Option<Response> {
        if self.down_until > now {
            return None;
        }
        if self.life != life {
            return Some(Response::Reset(self.info(now)));
        }
        let now = self.clock.at(now);
        Some(Response::Value(match request {
            Some(Command::Acquire(proposal)) if Store::is_taking(&proposal) => {
                self.store.take(&proposal, now)
            }
            Some(command) => self.store.run(&command, now),
            None => Value::Bytes(b"PONG".to_vec()),
        }))
    }

    /// Kills the node and restarts it later with this data.
    pub fn restart(&mut self, store: Store, now: u64, after: u64) {
        self.store = store;
        self.life += 1;
        self.started = now;
        self.down_until = now + after;
        self.busy_until = 0;
    }
}

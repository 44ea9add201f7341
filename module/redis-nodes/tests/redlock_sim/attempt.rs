//! Attempts of a client to acquire a lease.

use std::rc::Rc;

use redis_nodes::LockRequest;

use crate::client::{Asking, Client};
use crate::message::Timer;
use crate::plan::{NODE_TIMEOUT, TTL};

/// Wall clock at the start of every history, in microseconds.
const WALL: i64 = 1_700_000_000_000_000;

impl Client {
    /// Starts an attempt for the slot `first`, or for any slot.
    pub(super) fn ask(&mut self, real: u64, first: Option<usize>) {
        let count = self.slots.len() as u64;
        let first = first.unwrap_or_else(|| self.rng.within(0, count - 1) as usize);
        // As many alternatives as a worker would propose, or all slots.
        let most = match self.rng.percent(50) {
            true => self.group.alternatives(),
            false => self.slots.len(),
        };
        let others = (0..self.slots.len()).filter(|&slot| slot != first);
        let handle = self.handle();
        self.asking = Some(Asking {
            serial: self.serial,
            handle,
            options: std::iter::once(first).chain(others.take(most)).collect(),
        });
        if self.rng.percent(5) {
            let after = self.rng.within(0, 2 * NODE_TIMEOUT);
            self.later(after, Timer::Abandon(self.serial));
        }
        let by_script = self.rng.percent(20);
        self.attempt(real, by_script);
    }

    pub(super) fn attempt(&mut self, real: u64, by_script: bool) {
        let wall = WALL + (real as i64 + self.wall_skew) * 1_000 + self.rng.within(0, 999) as i64;
        let Some(asking) = &mut self.asking else {
            return;
        };
        let slots = |options: &[usize]| {
            let slot = |&slot: &usize| self.slots[slot].slot.clone();
            options.iter().map(slot).collect()
        };
        let first = asking.options[0];
        let request = LockRequest {
            names: Rc::clone(&self.names),
            first: Rc::clone(&self.slots[first]),
            others: slots(&asking.options[1..]),
            by_script,
            ttl_ms: TTL,
            handle: asking.handle,
            last_fence: self.machine.borrow().fences[first],
            tag: 0,
        };
        let now = self.clock.at(real);
        let group = &mut self.group;
        group.attempt(request, now, wall as u64, &mut self.done);
    }

    pub(super) fn abandon(&mut self, real: u64, serial: u64) {
        let asking = self.asking.as_ref();
        let attempt = asking.filter(|asking| asking.serial == serial);
        if let Some(handle) = attempt.map(|asking| asking.handle) {
            let now = self.clock.at(real);
            self.group.abandon(handle, now, &mut self.done);
        }
    }

    /// Handles a failed attempt: all slots are held, or the votes were split.
    pub(super) fn is_refused(&mut self, real: u64, wait_ms: u64) {
        if self.rng.percent(20) {
            let now = self.clock.at(real);
            self.group.join(&self.names, 0, now);
        }
        match self.rng.percent(50) {
            true => self.later(wait_ms, Timer::Ask),
            false => self.ask_later(),
        }
    }

    pub(super) fn ask_later(&mut self) {
        let after = self.rng.within(1, TTL / 3);
        self.later(after, Timer::Ask);
    }
}

//! The zone against a model that keeps plain lists and searches them.

mod keys;
mod reloads;
mod steps;

use std::collections::BTreeMap;

use proptest::prelude::*;

use keys::{INVALID_KEY_MS, Key};
use steps::{Answer, Step, steps};

use super::bed::{Bed, TTL, pool};
use crate::lease::record::{NONE, nonce_words, presence};
use crate::lease::*;

struct Held {
    grant: Grant,
    worker: usize,
    deadline: u64,
    /// Number of the lease among those of its key; 0 for a slot held on another machine.
    serial: u64,
}

struct Waiting {
    ticket: WaitTicket,
    tag: u64,
    worker: usize,
    priority: i32,
    generation: u64,
    /// By index: a key that is removed and added again can have another index.
    tried: Option<u32>,
}

fn config(keys: &[(u8, u32, u32)], balance: Balance) -> PoolConfig {
    let mut config = pool("p", keys, balance);
    config.policy.invalid_key_ms = INVALID_KEY_MS;
    config
}

struct Model {
    bed: Bed,
    workers: Vec<(WorkerId, u64)>,
    next_pid: u32,
    held: Vec<Held>,
    waiting: Vec<Waiting>,
    /// By fingerprint.
    keys: BTreeMap<u8, Key>,
    index_of: BTreeMap<u32, u8>,
    /// The newest keys.
    listed: Vec<(u8, u32, u32)>,
    newest: u64,
    fence: u64,
}

impl Model {
    fn new(balance: Balance) -> Self {
        let bed = Bed::new(&config(&[(1, 1, 1), (2, 2, 1)], balance));
        let mut model = Self {
            bed,
            workers: vec![],
            next_pid: 1,
            held: vec![],
            waiting: vec![],
            keys: BTreeMap::from([(1, Key::new(1, 1)), (2, Key::new(1, 2))]),
            index_of: BTreeMap::new(),
            listed: vec![(1, 1, 1), (2, 2, 1)],
            newest: 1,
            fence: 0,
        };
        for (at, fingerprint) in [1, 2].into_iter().enumerate() {
            model.index_of.insert(at as u32, fingerprint);
        }
        for _ in 0..3 {
            let worker = model.enter();
            model.workers.push(worker);
        }
        model
    }

    fn enter(&mut self) -> (WorkerId, u64) {
        let pid = self.next_pid;
        self.next_pid += 1;
        (self.bed.worker(pid), self.bed.generation)
    }

    fn knows(&self, fingerprint: u8, generation: u64) -> bool {
        let key = self.keys[&fingerprint];
        key.born <= generation && generation < key.retired
    }

    fn knows_any(&self, generation: u64) -> bool {
        self.keys.keys().any(|&key| self.knows(key, generation))
    }

    fn leases(&self, fingerprint: u8) -> impl Iterator<Item = &Held> {
        let of_key = move |h: &&Held| self.index_of[&h.grant.key] == fingerprint;
        self.held.iter().filter(of_key)
    }

    /// How many leases the key may have.
    fn cap(&self, fingerprint: u8) -> u32 {
        let key = self.keys[&fingerprint];
        let before = |h: &&Held| h.serial <= key.health.before_probation;
        key.cap(self.leases(fingerprint).filter(before).count() as u32)
    }

    /// Whether the key has a free slot that the configuration and the key's health allow.
    fn has_free(&self, fingerprint: u8) -> bool {
        let slots = self.keys[&fingerprint].slots;
        let taken = |ordinal| self.leases(fingerprint).any(|h| h.grant.ordinal == ordinal);
        let leases = self.leases(fingerprint).count() as u32;
        leases < self.cap(fingerprint) && (0..slots).any(|ordinal| !taken(ordinal))
    }

    fn is(&self, key: u8, index: Option<u32>) -> bool {
        index.is_some_and(|index| self.index_of.get(&index) == Some(&key))
    }

    fn some_free(&self, generation: u64, tried: Option<u32>) -> bool {
        self.keys
            .keys()
            .any(|&k| self.knows(k, generation) && !self.is(k, tried) && self.has_free(k))
    }

    fn note(&mut self, grant: Grant, worker: usize) {
        assert!(grant.fence > self.fence, "fences rise");
        self.fence = grant.fence;
        let clash = self
            .held
            .iter()
            .any(|h| (h.grant.key, h.grant.ordinal) == (grant.key, grant.ordinal));
        assert!(!clash, "a slot was granted twice");
        let key = self.index_of[&grant.key];
        let room = self
            .cap(key)
            .saturating_sub(self.leases(key).count() as u32);
        assert!(room > 0, "more leases than its health allows");
        let health = &mut self.keys.get_mut(&key).unwrap().health;
        health.granted += 1;
        let serial = health.granted;
        self.held.push(Held {
            grant,
            worker,
            deadline: self.bed.now + TTL,
            serial,
        });
    }

    /// Collects all served waiters and checks that each grant was correct.
    fn collect(&mut self) {
        self.expire();
        let mut served = vec![];
        for at in 0..self.workers.len() {
            let (id, _) = self.workers[at];
            let now = self.bed.clock();
            let mut zone = self.bed.zone();
            while let Some(s) = zone.collect(id, now) {
                served.push((at, s));
            }
        }
        served.sort_by_key(|(_, s)| s.grant.fence);
        for (at, s) in served {
            let place = self
                .waiting
                .iter()
                .position(|w| w.tag == s.tag)
                .expect("it waited");
            let fingerprint = self.index_of[&s.grant.key];
            let waiter = &self.waiting[place];
            assert_eq!(waiter.worker, at);
            assert!(self.knows(fingerprint, waiter.generation));
            let turn = (-waiter.priority, waiter.tag);
            assert!(!self.is(fingerprint, waiter.tried));
            let sooner = self.waiting.iter().any(|w| {
                (-w.priority, w.tag) < turn
                    && self.knows(fingerprint, w.generation)
                    && !self.is(fingerprint, w.tried)
            });
            assert!(!sooner, "served out of turn");
            self.waiting.remove(place);
            self.note(s.grant, at);
        }
        for w in &self.waiting {
            let free = self.some_free(w.generation, w.tried);
            assert!(!free, "a waiter was passed over");
        }
    }

    fn expire(&mut self) {
        let now = self.bed.clock();
        let ended = self.bed.zone().expire(now);
        let before = self.held.len();
        self.held.retain(|h| h.deadline > now.mono_ms);
        assert_eq!(before - self.held.len(), ended);
        for key in self.keys.values_mut() {
            key.health.end_cool_down(now.mono_ms);
        }
    }

    fn step(&mut self, step: Step) {
        self.expire();
        self.collect();
        match step {
            Step::Take {
                worker,
                priority,
                tried,
            } => self.take(worker, priority, tried),
            Step::Answer(at, answer) if !self.held.is_empty() => {
                self.answer(at % self.held.len(), answer);
            }
            Step::Release(at) if !self.held.is_empty() => {
                let held = self.held.remove(at % self.held.len());
                self.bed.release(held.grant).expect("still held");
                assert_eq!(self.bed.release(held.grant), Err(Lost));
            }
            Step::Renew(at) if !self.held.is_empty() => {
                let at = at % self.held.len();
                let (handle, now) = (self.held[at].grant.handle, self.bed.clock());
                self.held[at].deadline = self.bed.zone().renew(handle, now).expect("still held");
            }
            Step::Leave(at) if !self.waiting.is_empty() => {
                let left = self.waiting.remove(at % self.waiting.len());
                assert_eq!(self.bed.zone().cancel(left.ticket), Cancelled::Left);
            }
            Step::Move(at, random) if !self.held.is_empty() => {
                self.move_lease(at % self.held.len(), random);
            }
            Step::Pass(ms) => self.bed.now += ms,
            Step::Kill(at) => self.kill(at),
            Step::Reload(keys) => self.reload(&keys),
            Step::Read(at, keys) => {
                let keys = keys.unwrap_or_else(|| self.listed.clone());
                self.read(at, &keys);
            }
            Step::Tear(seed) => self.tear(seed),
            _ => {}
        }
        self.collect();
        self.count();
    }

    fn take(&mut self, worker: usize, priority: i32, tried: Option<u8>) {
        let (id, generation) = self.workers[worker];
        let mut want = Want {
            priority,
            generation,
            ..self.bed.want(id)
        };
        let mut indexes = self.index_of.iter();
        let of_key = indexes.find(|&(_, &key)| Some(key) == tried);
        let tried = of_key.map(|(&index, _)| index);
        tried.into_iter().for_each(|index| want.avoid.push(index));
        want.avoid = want.avoid.strict(true);
        let now = self.bed.clock();
        let expected = self.some_free(generation, tried);
        let outlook = self.bed.zone().outlook(&want, now);
        match self.bed.zone().acquire(&want, now) {
            Some(grant) => {
                let key = self.index_of[&grant.key];
                assert!(self.knows(key, generation) && !self.is(key, tried));
                self.note(grant, worker);
            }
            None => {
                assert!(!expected, "there was a free slot");
                assert_eq!(outlook, self.outlook(generation, tried));
                let full = self.waiting.len() >= 4;
                let tag = want.tag;
                match self.bed.zone().enqueue(&want) {
                    Ok(ticket) => {
                        assert!(!full);
                        self.waiting.push(Waiting {
                            ticket,
                            tag,
                            worker,
                            priority,
                            generation,
                            tried,
                        });
                    }
                    Err(QueueFull) => assert!(full),
                }
            }
        }
    }

    fn move_lease(&mut self, at: usize, random: u64) {
        let now = self.bed.clock();
        let (left, worker) = (self.held[at].grant, self.held[at].worker);
        let generation = self.bed.generation;
        let most = 1 + (random >> 32) as usize % 3;
        let others =
            self.bed
                .zone()
                .alternatives(left.handle, generation, most, random, &Avoid::default());
        assert!(others.len() <= most);
        assert_eq!(others.is_empty(), !self.some_free(generation, None));
        let Some(&other) = others.last() else { return };
        assert!(self.knows(self.index_of[&other.0], generation));
        let until = now.mono_ms + 7;
        let moved = self.bed.zone().move_to(left.handle, other, until, now);
        let moved = moved.expect("it is free");
        assert_eq!((moved.key, moved.ordinal), other);
        let elsewhere = &mut self.held[at];
        elsewhere.grant.handle.nonce = [0; 2];
        elsewhere.deadline = until;
        elsewhere.worker = usize::MAX;
        // The lease moves before its old slot is marked.
        self.note(moved, worker);
        self.held[at].serial = 0;
    }

    fn answer(&mut self, at: usize, answer: Answer) {
        let (grant, serial) = (self.held[at].grant, self.held[at].serial);
        if serial == 0 {
            return; // The slot is held on another machine.
        }
        let retry = match answer {
            Answer::RateLimited(ms) => ms.to_string(),
            _ => String::new(),
        };
        let headers = [("retry-after-ms", &*retry)];
        self.bed.answer(&grant, answer.verdict(), &headers);
        let key = self.keys.get_mut(&self.index_of[&grant.key]).unwrap();
        key.hears(serial, answer, self.bed.now);
    }

    fn outlook(&self, generation: u64, tried: Option<u32>) -> Outlook {
        let may = |k: &&u8| self.knows(**k, generation) && !self.is(**k, tried);
        let keys: Vec<_> = self.keys.keys().filter(may).collect();
        let out = keys.iter().filter_map(|k| self.keys[k].health.cooling);
        let out: Vec<_> = out.map(|(c, until)| (c, until - self.bed.now)).collect();
        if out.len() < keys.len() {
            return Outlook::Busy;
        }
        let rated = out
            .iter()
            .filter(|(c, _)| *c == Cause::RateLimited)
            .map(|o| o.1)
            .min();
        match (rated, out.iter().map(|o| o.1).min()) {
            (Some(soonest_ms), _) => Outlook::CoolingDown { soonest_ms },
            (None, Some(soonest_ms)) => Outlook::Unhealthy { soonest_ms },
            // The worker will read the newer keys soon.
            (None, None) if generation < self.newest && !self.knows_any(generation) => {
                Outlook::Busy
            }
            (None, None) => Outlook::Tried,
        }
    }

    fn kill(&mut self, at: usize) {
        let (id, _) = self.workers[at];
        let now = self.bed.clock();
        self.held.retain(|h| h.worker != at);
        self.waiting.retain(|w| w.worker != at);
        self.bed.zone().dismiss(id, now);
        self.workers[at] = self.enter();
    }

    /// Corrupts all derived data, as a process killed at the worst moment might leave it.
    fn tear(&mut self, seed: u64) {
        let now = self.bed.clock();
        let mut zone = self.bed.zone();
        let mut word = seed as u32 | 1;
        let mut junk = || {
            word ^= word << 13;
            word ^= word >> 17;
            word ^= word << 5;
            word % 70
        };
        for key in zone.keys.iter_mut() {
            (key.in_use, key.free_slot, key.cap) = (junk(), junk(), junk());
            (key.left_out, key.cooling_at) = (junk(), junk());
        }
        for rank in zone.ranks.iter_mut() {
            rank.heap_at = junk();
        }
        for slot in zone.slots.iter_mut() {
            (slot.next_free, slot.heap_at) = (junk(), junk());
        }
        for waiter in zone.waiters.iter_mut() {
            (waiter.next, waiter.heap_at) = (junk(), NONE);
        }
        let heaps = zone.available.iter_mut().chain(zone.waiting.iter_mut());
        for item in heaps.chain(zone.cooling.iter_mut()) {
            *item = junk();
        }
        zone.header.cooling = junk();
        zone.pools[0].cooling = junk();
        zone.pools[0].keys = junk();
        zone.pools[0].waiting = junk();
        zone.pools[0].available_at = junk();
        zone.header.deadlines = junk();
        zone.header.free_slot = junk();
        zone.recover(now);
    }

    fn count(&mut self) {
        let pool = self.bed.pool;
        let caps: BTreeMap<_, _> = self.keys.keys().map(|&k| (k, self.cap(k))).collect();
        let zone = self.bed.zone();
        let gauges = zone.gauges(pool);
        assert_eq!(gauges.held as usize, self.held.len());
        assert_eq!(gauges.waiting as usize, self.waiting.len());
        assert_eq!(zone.held(), gauges.held);
        for h in &self.held {
            let slot = zone.slots[h.grant.handle.slot as usize];
            assert_eq!(slot.nonce, nonce_words(h.grant.handle.nonce()));
            assert_eq!(slot.deadline_ms, h.deadline);
        }
        for key in zone.keys.iter() {
            if key.state != presence::UNUSED {
                let fingerprint = key.fingerprint[0];
                let expected = self.keys[&fingerprint].health;
                assert_eq!(key.cap, caps[&fingerprint], "{expected:?}");
                let until = expected.cooling.map_or(0, |(_, until)| until);
                assert_eq!(key.until_ms, until);
                assert_eq!(key.failures, expected.failures);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_zone_does_as_the_model(
        steps in steps(),
        balance in prop_oneof![
            Just(Balance::RoundRobin), Just(Balance::Weighted),
            Just(Balance::LeastBusy), Just(Balance::Random)
        ],
    ) {
        let mut model = Model::new(balance);
        for step in steps {
            model.step(step);
        }
        model.expire();
        model.collect();
        loop {
            while let Some(held) = model.held.pop() {
                model.bed.release(held.grant).unwrap();
                model.collect();
            }
            let returns = model.keys.values().filter_map(|key| key.health.cooling).map(|out| out.1);
            let Some(next) = returns.min() else { break };
            model.bed.now = next;
            model.collect();
        }
        for waiting in &model.waiting {
            let could = model.keys.keys().any(|&k| {
                model.knows(k, waiting.generation) && !model.is(k, waiting.tried)
            });
            prop_assert!(!could, "a waiter was forgotten");
        }
        prop_assert_eq!(model.bed.zone().held(), 0);
    }
}

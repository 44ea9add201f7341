//! The zone against a model that keeps plain lists and searches them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::bed::{Bed, TTL, pool};
use crate::lease::record::{NONE, nonce_words};
use crate::lease::*;

#[derive(Clone, Debug)]
enum Step {
    Take {
        worker: usize,
        priority: i32,
    },
    Release(usize),
    Renew(usize),
    Leave(usize),
    /// A lease moves to another slot; its own is held elsewhere for a while.
    Move(usize, u64),
    Pass(u64),
    Kill(usize),
    Reload(Vec<(u8, u32, u32)>),
    /// A worker has read keys anew: any, or those that another one read last.
    Read(usize, Option<Vec<(u8, u32, u32)>>),
    /// A process died while it held the mutex.
    Tear(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = proptest::collection::btree_map(0u8..6, (1u32..4, 1u32..5), 1..5).prop_map(|keys| {
        keys.into_iter()
            .map(|(k, (s, w))| (k, s, w))
            .collect::<Vec<_>>()
    });
    let step = prop_oneof![
        12 => (0usize..3, 0i32..3).prop_map(|(worker, priority)| Step::Take { worker, priority }),
        8 => any::<usize>().prop_map(Step::Release),
        3 => any::<usize>().prop_map(Step::Renew),
        3 => any::<usize>().prop_map(Step::Leave),
        3 => (any::<usize>(), any::<u64>()).prop_map(|(at, random)| Step::Move(at, random)),
        2 => (1..TTL).prop_map(Step::Pass),
        1 => (0usize..3).prop_map(Step::Kill),
        1 => keys.clone().prop_map(Step::Reload),
        3 => (0usize..3, proptest::option::of(keys)).prop_map(|(at, keys)| Step::Read(at, keys)),
        1 => any::<u64>().prop_map(Step::Tear),
    ];
    proptest::collection::vec(step, 1..120)
}

struct Held {
    grant: Grant,
    worker: usize,
    deadline: u64,
}

struct Waiting {
    ticket: WaitTicket,
    tag: u64,
    worker: usize,
    priority: i32,
    generation: u64,
}

struct Model {
    bed: Bed,
    workers: Vec<(WorkerId, u64)>,
    next_pid: u32,
    held: Vec<Held>,
    waiting: Vec<Waiting>,
    /// Fingerprint → born, retired, slots.
    keys: BTreeMap<u8, (u64, u64, u32)>,
    index_of: BTreeMap<u32, u8>,
    /// The newest keys, and their generation.
    listed: Vec<(u8, u32, u32)>,
    newest: u64,
    fence: u64,
}

impl Model {
    fn new(balance: Balance) -> Self {
        let bed = Bed::new(&pool("p", &[(1, 1, 1), (2, 2, 1)], balance));
        let mut model = Self {
            bed,
            workers: vec![],
            next_pid: 1,
            held: vec![],
            waiting: vec![],
            keys: BTreeMap::from([(1, (1, u64::MAX, 1)), (2, (1, u64::MAX, 2))]),
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
        let (born, retired, _) = self.keys[&fingerprint];
        born <= generation && generation < retired
    }

    /// A slot of the key that nobody holds and the configuration still has.
    fn has_free(&self, fingerprint: u8) -> bool {
        let slots = self.keys[&fingerprint].2;
        let taken = |ordinal| {
            self.held
                .iter()
                .any(|h| self.index_of[&h.grant.key] == fingerprint && h.grant.ordinal == ordinal)
        };
        let leases = self
            .held
            .iter()
            .filter(|h| self.index_of[&h.grant.key] == fingerprint);
        (leases.count() as u32) < slots && (0..slots).any(|ordinal| !taken(ordinal))
    }

    fn some_free(&self, generation: u64) -> bool {
        self.keys
            .keys()
            .any(|&k| self.knows(k, generation) && self.has_free(k))
    }

    fn note(&mut self, grant: Grant, worker: usize) {
        assert!(grant.fence > self.fence, "fences rise");
        self.fence = grant.fence;
        let clash = self
            .held
            .iter()
            .any(|h| (h.grant.key, h.grant.ordinal) == (grant.key, grant.ordinal));
        assert!(!clash, "a slot was granted twice");
        self.held.push(Held {
            grant,
            worker,
            deadline: self.bed.now + TTL,
        });
    }

    /// Takes notice of all that the zone served; checks that it was right to.
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
            let sooner = self
                .waiting
                .iter()
                .any(|w| (-w.priority, w.tag) < turn && self.knows(fingerprint, w.generation));
            assert!(!sooner, "served out of turn");
            self.waiting.remove(place);
            self.note(s.grant, at);
        }
        for w in &self.waiting {
            assert!(!self.some_free(w.generation), "a waiter was passed over");
        }
    }

    fn expire(&mut self) {
        let now = self.bed.clock();
        let ended = self.bed.zone().expire(now);
        let before = self.held.len();
        self.held.retain(|h| h.deadline > now.mono_ms);
        assert_eq!(before - self.held.len(), ended);
    }

    fn step(&mut self, step: Step) {
        self.expire();
        self.collect();
        match step {
            Step::Take { worker, priority } => self.take(worker, priority),
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

    fn take(&mut self, worker: usize, priority: i32) {
        let (id, generation) = self.workers[worker];
        let want = Want {
            priority,
            generation,
            ..self.bed.want(id)
        };
        let now = self.bed.clock();
        let expected = self.some_free(generation);
        match self.bed.zone().acquire(&want, now) {
            Some(grant) => {
                assert!(self.knows(self.index_of[&grant.key], generation));
                self.note(grant, worker);
            }
            None => {
                assert!(!expected, "there was a free slot");
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
        let others = self
            .bed
            .zone()
            .alternatives(left.handle, generation, most, random);
        assert!(others.len() <= most);
        assert_eq!(others.is_empty(), !self.some_free(generation));
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
        self.note(moved, worker);
    }

    fn kill(&mut self, at: usize) {
        let (id, _) = self.workers[at];
        let now = self.bed.clock();
        self.held.retain(|h| h.worker != at);
        self.waiting.retain(|w| w.worker != at);
        self.bed.zone().dismiss(id, now);
        self.workers[at] = self.enter();
    }

    fn reload(&mut self, keys: &[(u8, u32, u32)]) {
        let accepted = self.bed.reload(&pool("p", keys, Balance::Weighted));
        let generation = accepted.generation;
        self.replace(keys, &accepted, generation);
    }

    /// The keys of a file, as a worker found them in it.
    fn read(&mut self, at: usize, keys: &[(u8, u32, u32)]) {
        let (id, generation) = self.workers[at];
        let config = pool("p", keys, Balance::Weighted);
        let now = self.bed.clock();
        let changed = self.bed.zone().change_keys(id, &[config], now);
        if generation < self.bed.generation {
            assert_eq!(changed.err(), Some(ChangeError::Superseded));
            return;
        }
        let Changed { accepted, first } = changed.expect("there is room");
        assert_eq!(
            first,
            keys != self.listed,
            "the same keys make no generation"
        );
        if first {
            assert!(accepted.generation > self.newest);
            self.replace(keys, &accepted, 0);
        }
        assert_eq!(accepted.generation, self.newest);
        assert!(self.bed.zone().newer_keys(id).is_none());
        for (&(fingerprint, ..), index) in keys.iter().zip(&accepted.pools[0].1) {
            assert_eq!(self.index_of[index], fingerprint);
        }
        self.workers[at].1 = self.newest;
        for waiter in self.waiting.iter_mut().filter(|w| w.worker == at) {
            waiter.generation = self.newest;
        }
    }

    /// There are other keys; those that are gone are known until `last`.
    fn replace(&mut self, keys: &[(u8, u32, u32)], accepted: &Accepted, last: u64) {
        let generation = accepted.generation;
        (self.newest, self.listed) = (generation, keys.to_vec());
        let mut listed = BTreeMap::new();
        for (&(fingerprint, slots, _), &index) in keys.iter().zip(&accepted.pools[0].1) {
            listed.insert(fingerprint, slots);
            self.index_of.insert(index, fingerprint);
        }
        for (fingerprint, key) in &mut self.keys {
            if key.1 == u64::MAX && !listed.contains_key(fingerprint) {
                key.1 = last;
            }
        }
        for (fingerprint, slots) in listed {
            let key = self
                .keys
                .entry(fingerprint)
                .or_insert((generation, u64::MAX, slots));
            if key.1 != u64::MAX {
                *key = (generation, u64::MAX, slots);
            }
            key.2 = slots;
        }
    }

    /// Ruins all that is derived, as a process killed at the worst moment might.
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
            (key.in_use, key.free_slot, key.heap_at) = (junk(), junk(), junk());
        }
        for slot in zone.slots.iter_mut() {
            (slot.next_free, slot.heap_at) = (junk(), junk());
        }
        for waiter in zone.waiters.iter_mut() {
            (waiter.next, waiter.heap_at) = (junk(), NONE);
        }
        for item in zone.available.iter_mut().chain(zone.waiting.iter_mut()) {
            *item = junk();
        }
        zone.pools[0].waiting = junk();
        zone.pools[0].available_at = junk();
        zone.header.deadlines = junk();
        zone.header.free_slot = junk();
        zone.recover(now);
    }

    fn count(&mut self) {
        let pool = self.bed.pool;
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
        while let Some(held) = model.held.pop() {
            model.bed.release(held.grant).unwrap();
            model.collect();
        }
        for waiting in &model.waiting {
            let could = model.keys.keys().any(|&k| model.knows(k, waiting.generation));
            prop_assert!(!could, "a waiter was forgotten");
        }
        prop_assert_eq!(model.bed.zone().held(), 0);
    }
}

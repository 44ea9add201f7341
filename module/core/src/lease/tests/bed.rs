//! A zone in ordinary memory with helper functions.

use openai_wire::{Limits, Verdict};

use crate::lease::*;

pub(super) const TTL: u64 = 1_000;

pub(super) struct Bed {
    bytes: Vec<u64>,
    pub(super) now: u64,
    pub(super) pool: PoolId,
    pub(super) generation: u64,
    /// Random number for reports.
    pub(super) random: u64,
    nonce: u128,
}

pub(super) fn pool(name: &str, keys: &[(u8, u32, u32)], balance: Balance) -> PoolConfig {
    let keys = keys.iter().map(|&(name, slots, weight)| KeyConfig {
        fingerprint: [name; 16],
        weight,
        slots,
        line: 1,
        id: 0,
    });
    PoolConfig {
        name: name.into(),
        balance,
        queue: 4,
        policy: KeyPolicy::default(),
        keys: keys.collect(),
    }
}

impl Bed {
    pub(super) fn new(config: &PoolConfig) -> Self {
        let bytes = Capacity::bytes_for(64, 64, 64);
        let mut bed = Self {
            bytes: vec![0; bytes.div_ceil(8)],
            now: 10,
            pool: PoolId(0),
            generation: 0,
            random: u64::MAX,
            nonce: 0,
        };
        Zone::format(bytemuck::cast_slice_mut(&mut bed.bytes)).unwrap();
        bed.reload(config);
        bed
    }

    pub(super) fn zone(&mut self) -> Zone<'_> {
        Zone::open(bytemuck::cast_slice_mut(&mut self.bytes)).unwrap()
    }

    pub(super) fn clock(&self) -> Now {
        Now {
            mono_ms: self.now,
            wall_us: 5,
        }
    }

    pub(super) fn reload(&mut self, config: &PoolConfig) -> Accepted {
        let now = self.clock();
        self.zone().check(std::slice::from_ref(config)).unwrap();
        let accepted = self
            .zone()
            .accept(std::slice::from_ref(config), now)
            .unwrap();
        self.pool = accepted.pools[0].0;
        self.generation = accepted.generation;
        accepted
    }

    pub(super) fn worker(&mut self, pid: u32) -> WorkerId {
        let (now, generation) = (self.clock(), self.generation);
        self.zone().enroll(pid, generation, now, |_| false).unwrap()
    }

    pub(super) fn want(&mut self, worker: WorkerId) -> Want {
        self.nonce += 1;
        Want {
            pool: self.pool,
            worker,
            generation: self.generation,
            nonce: self.nonce,
            ttl_ms: TTL,
            priority: 0,
            tag: self.nonce as u64,
            arrival: None,
            tokens: 0,
            holder: 0,
            avoid: Avoid::default(),
        }
    }

    pub(super) fn acquire(&mut self, worker: WorkerId) -> Option<Grant> {
        let (want, now) = (self.want(worker), self.clock());
        self.zone().acquire(&want, now)
    }

    pub(super) fn wait(&mut self, worker: WorkerId, priority: i32) -> (u64, WaitTicket) {
        let want = Want {
            priority,
            ..self.want(worker)
        };
        let ticket = self.zone().enqueue(&want).unwrap();
        (want.tag, ticket)
    }

    pub(super) fn release(&mut self, grant: Grant) -> Result<(), Lost> {
        let now = self.clock();
        self.zone().release(grant.handle, now)
    }

    /// Reports a response with these headers.
    pub(super) fn answer(
        &mut self,
        grant: &Grant,
        verdict: Verdict,
        headers: &[(&str, &str)],
    ) -> Option<KeyChange> {
        let mut limits = Limits::default();
        for (name, value) in headers {
            limits.header(name.as_bytes(), value.as_bytes(), 0);
        }
        let report = AttemptReport {
            verdict,
            limits,
            status: 0,
            random: self.random,
        };
        let now = self.clock();
        self.zone().report(grant, &report, now)
    }

    pub(super) fn view(&mut self, key: u32) -> KeyView {
        let (pool, now) = (self.pool, self.clock());
        let listing = self.zone().listing(pool, now);
        *listing.iter().find(|view| view.key == key).unwrap()
    }

    pub(super) fn outlook(&mut self, worker: WorkerId) -> Outlook {
        let (want, now) = (self.want(worker), self.clock());
        self.zone().outlook(&want, now)
    }

    pub(super) fn expire(&mut self) {
        let now = self.clock();
        self.zone().expire(now);
    }

    pub(super) fn served(&mut self, worker: WorkerId) -> Vec<u64> {
        let now = self.clock();
        let mut zone = self.zone();
        std::iter::from_fn(|| zone.collect(worker, now))
            .map(|s| s.tag)
            .collect()
    }
}

//! The lease table: the time that requests hold the zone's mutex.
//!
//! Cases: leases with 10 and 10,000 keys, for each balancing method; the same with a response
//! reported, and for a request that has already tried keys; waiters; renewals with many leases.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot go on fails by panicking"
)]

use openai_wire::{Limits, Verdict};
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use openai_core::lease::{
    AttemptReport, Avoid, Balance, Capacity, Cause, Grant, KeyConfig, KeyPolicy, Now, PoolConfig,
    PoolId, Want, WorkerId, Zone,
};

const NOW: Now = Now {
    mono_ms: 1,
    wall_us: 1,
};

struct Table {
    bytes: Vec<u64>,
    pool: PoolId,
    worker: WorkerId,
    nonce: u128,
}

impl Table {
    fn new(keys: u32, balance: Balance) -> Self {
        let size = Capacity::bytes_for(keys as usize, keys as usize, 1_000);
        let mut bytes = vec![0u64; size.div_ceil(8)];
        let keys = (0..keys).map(|k| KeyConfig {
            fingerprint: u128::from(k).to_le_bytes(),
            weight: 1 + k % 5,
            slots: 1,
            line: 1,
            id: 0,
        });
        let config = PoolConfig {
            name: "bench".into(),
            balance,
            queue: 1_000,
            policy: KeyPolicy::default(),
            keys: keys.collect(),
        };
        let mut zone = Zone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
        let accepted = zone.accept(&[config], NOW).expect("fits");
        let worker = zone.enroll(1, 1, NOW, |_| false).expect("a worker");
        let pool = accepted.pools[0].0;
        Self {
            bytes,
            pool,
            worker,
            nonce: 0,
        }
    }

    fn want(&mut self) -> Want {
        self.nonce = self
            .nonce
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(0xB5);
        Want {
            pool: self.pool,
            worker: self.worker,
            generation: 1,
            nonce: self.nonce,
            ttl_ms: 1_000_000,
            priority: 0,
            tag: 0,
            arrival: None,
            tokens: 0,
            holder: 0,
            avoid: Avoid::default(),
        }
    }

    /// Calls `act` with the zone. Opens the zone each time, as the module does.
    fn with<T>(&mut self, act: impl FnOnce(&mut Zone<'_>, &Want) -> T) -> T {
        let want = self.want();
        act(
            &mut Zone::open(bytemuck::cast_slice_mut(&mut self.bytes)).expect("a zone"),
            &want,
        )
    }

    fn take(&mut self) -> Option<Grant> {
        self.with(|zone, want| zone.acquire(want, NOW))
    }

    fn end(&mut self, grant: &Grant) {
        self.with(|zone, _| zone.release(grant.handle, NOW))
            .expect("held");
    }
}

fn take_and_end(c: &mut Criterion) {
    let mut group = c.benchmark_group("lease/take_and_end");
    let ways = [
        ("round_robin", Balance::RoundRobin),
        ("weighted", Balance::Weighted),
        ("least_busy", Balance::LeastBusy),
        ("random", Balance::Random),
    ];
    for (name, balance) in ways {
        for keys in [10, 10_000] {
            let mut table = Table::new(keys, balance);
            // Half of the keys are in use, as under load.
            for _ in 0..keys / 2 {
                table.take();
            }
            group.bench_function(BenchmarkId::new(name, keys), |b| {
                b.iter(|| {
                    let grant = table.take().expect("a free key");
                    table.end(black_box(&grant));
                });
            });
        }
    }
}

/// Acquires a lease, reports a response with rate limits, and releases the lease, while a tenth of
/// the keys are cooling down.
fn take_report_and_end(c: &mut Criterion) {
    let mut group = c.benchmark_group("lease/take_report_and_end");
    for keys in [10, 10_000] {
        let mut table = Table::new(keys, Balance::RoundRobin);
        for key in 0..keys / 10 {
            table.with(|zone, _| {
                zone.learn_cool_down(key * 10, Cause::RateLimited, 1, 1_000_000, NOW)
            });
        }
        for _ in 0..keys / 2 {
            table.take();
        }
        let mut report = AttemptReport {
            verdict: Verdict::Ok,
            limits: Limits::default(),
            status: 200,
            random: 0,
        };
        for (name, value) in [
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("x-ratelimit-limit-tokens", "2000000"),
            ("x-ratelimit-remaining-tokens", "1999000"),
            ("x-ratelimit-reset-tokens", "30ms"),
        ] {
            report.limits.header(name.as_bytes(), value.as_bytes(), 0);
        }
        group.bench_function(BenchmarkId::from_parameter(keys), |b| {
            b.iter(|| {
                let grant = table.take().expect("a free key");
                table.with(|zone, _| zone.report(&grant, black_box(&report), NOW));
                table.end(black_box(&grant));
            });
        });
    }
}

/// Acquires a lease for a request that has already tried some keys, and prefers one with tokens
/// left.
fn take_another(c: &mut Criterion) {
    let mut group = c.benchmark_group("lease/take_another");
    for keys in [10, 10_000] {
        let mut table = Table::new(keys, Balance::RoundRobin);
        let mut avoid = Avoid::default();
        (0..4).for_each(|key| avoid.push(key));
        group.bench_function(BenchmarkId::from_parameter(keys), |b| {
            b.iter(|| {
                let tokens = 100;
                let grant = table.with(|zone, want| {
                    let want = Want {
                        avoid,
                        tokens,
                        ..*want
                    };
                    zone.acquire(black_box(&want), NOW)
                });
                table.end(black_box(&grant.expect("a free key")));
            });
        });
    }
}

fn serve_a_waiter(c: &mut Criterion) {
    let mut table = Table::new(1, Balance::RoundRobin);
    let mut held = table.take().expect("a free key");
    c.bench_function("lease/serve_a_waiter", |b| {
        b.iter(|| {
            table
                .with(|zone, want| zone.enqueue(want))
                .expect("a place");
            table.end(&held);
            let worker = table.worker;
            held = table
                .with(|zone, _| zone.collect(worker, NOW))
                .expect("served")
                .grant;
        });
    });
}

fn renew(c: &mut Criterion) {
    let mut table = Table::new(10_000, Balance::RoundRobin);
    let held: Vec<_> = std::iter::from_fn(|| table.take()).collect();
    let mut next = held.iter().cycle();
    c.bench_function("lease/renew_among_10000", |b| {
        b.iter(|| {
            let handle = next.next().expect("endless").handle;
            table.with(|zone, _| zone.renew(black_box(handle), NOW))
        });
    });
}

criterion_group!(
    benches,
    take_and_end,
    take_report_and_end,
    take_another,
    serve_a_waiter,
    renew
);
criterion_main!(benches);

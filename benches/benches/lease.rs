//! The lease table: what a request costs under the zone's mutex.
//!
//! A lease taken and ended at 10 and at 10,000 keys, for each way of choosing; a
//! waiter served; a renewal among many.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot go on fails by panicking"
)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use openai_core::lease::{
    Avoid, Balance, Capacity, Grant, KeyConfig, KeyPolicy, Now, PoolConfig, PoolId, Want, WorkerId,
    Zone,
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
            avoid: Avoid::default(),
        }
    }

    /// As the module does it: the zone is opened anew each time.
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
            // Half of the keys are busy, as under load.
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

criterion_group!(benches, take_and_end, serve_a_waiter, renew);
criterion_main!(benches);

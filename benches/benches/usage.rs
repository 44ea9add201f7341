//! The usage scanner on upstream responses, and the metrics.
#![allow(clippy::expect_used, reason = "a bench fails by panicking")]

use openai_wire::usage::Source;
use openai_wire::{Tokens, UsageScanner};
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use openai_core::clients::QuotaDirective;
use openai_core::lease::KeyView;
use openai_core::metrics::{
    Day, Endpoint, Http, Live, MetricsCopy, MetricsZone, Outcome, PoolRequest, Record, Snapshot,
    SnapshotOwner, render,
};
use openai_core::view::PoolView;

const CHUNK: &str = "data: {\"id\":\"chatcmpl-123456\",\"object\":\"chat.completion.chunk\",\
    \"created\":1234567890,\"model\":\"gpt-4o-mini\",\"service_tier\":\"default\",\
    \"system_fingerprint\":\"fp_6d6f636b75\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\
    \"powered \"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";

fn usage(c: &mut Criterion) {
    let mut group = c.benchmark_group("usage");
    let with_null = CHUNK.replace("}]}", "}],\"usage\":null}");
    for (name, chunk) in [("a chunk", CHUNK), ("a chunk with null", &with_null)] {
        group.throughput(Throughput::Bytes(chunk.len() as u64));
        let mut scanner = UsageScanner::new(true);
        group.bench_function(name, |b| {
            b.iter(|| scanner.feed(black_box(chunk.as_bytes())))
        });
        black_box(scanner.finish(false));
    }
    let numbers = "0.0123456,".repeat(100_000);
    let text = "and some words of an answer ".repeat(40_000);
    for (name, body) in [
        (
            "1 MB embedding",
            format!(
                "{{\"data\":[{{\"embedding\":[{numbers}0]}}],\"usage\":{{\"prompt_tokens\":8}}}}"
            ),
        ),
        (
            "1 MB text",
            format!(
                "{{\"choices\":[{{\"message\":{{\"content\":\"{text}\"}}}}],\"usage\":{{\"prompt_tokens\":8}}}}"
            ),
        ),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut scanner = UsageScanner::new(false);
                for piece in body.as_bytes().chunks(16 * 1024) {
                    scanner.feed(black_box(piece));
                }
                scanner.finish(true)
            });
        });
    }
    group.finish();
}

const KEYS: usize = 1_000;
const DAY: u64 = 20_000;

/// Records request number `n` of a day.
fn record(n: usize, day: u64, add: &mut dyn FnMut(&Record<'_>)) {
    let (service, key) = (
        format!("service-{}", n % 20),
        format!("key-{:04}", n % KEYS),
    );
    add(&Record {
        http: Some(Http::new(
            b"POST",
            Endpoint::of(b"/v1/chat/completions"),
            200,
        )),
        day: Day::from_number(day),
        ended_ms: 0,
        duration_ms: n as u64 % 3_000,
        request: Some(PoolRequest {
            service: &service,
            pool: "main",
            key: &key,
            model: ["gpt-4o", "gpt-4o-mini", "o3"][n % 3],
            known_model: true,
            outcome: Outcome::Success,
            attempts: 1,
            tokens: Tokens {
                prompt: 12,
                completion: n as u64 % 700,
                ..Tokens::default()
            },
            source: Source::Exact,
            cost: Some(n as u64),
            wait_ms: Some(0),
            hold_ms: Some(40),
            first_token_ms: Some(20),
        }),
    });
}

/// The sums of two months of days, with `KEYS` keys on each day.
fn ledger(c: &mut Criterion) {
    // Large enough for the sums of all keys.
    let mut bytes = vec![0u64; MetricsZone::bytes_for(9_000).div_ceil(8)];
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    let mut day = DAY;
    let fill = |metrics: &mut MetricsZone<'_>, day: u64| {
        for n in 0..KEYS {
            record(n, day, &mut |record| metrics.add(record));
        }
    };
    for _ in 0..62 {
        fill(&mut metrics, day);
        day += 1;
    }
    let today = Day::from_number(day);
    let line = [
        "service-1",
        "tokens=1000000000000/day",
        "cost=1000000/month",
    ];
    let quota = QuotaDirective::parse(&line).expect("a quota").quota;
    let mut group = c.benchmark_group("ledger");
    group.bench_function("look at a quota", |b| {
        b.iter(|| metrics.passed(black_box("service-1"), &quota, today));
    });
    group.bench_function("figures of all", |b| {
        b.iter(|| metrics.stats(today, None, None));
    });
    group.bench_function("extract", |b| b.iter(|| metrics.used_rows()));
    let owner = SnapshotOwner::default();
    group.bench_function("file", |b| {
        b.iter_batched(
            || metrics.used_rows(),
            |extract| Snapshot::from(extract).to_bytes(&owner).len(),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("close a day", |b| {
        b.iter_custom(|times| {
            let mut took = Duration::ZERO;
            for _ in 0..times {
                fill(&mut metrics, day);
                day += 1;
                let start = Instant::now();
                metrics.used_by("service-1", Day::from_number(day));
                took += start.elapsed();
            }
            took
        });
    });
    group.finish();
}

/// The text of the metrics of all keys, each of which has been used.
fn scrape(c: &mut Criterion) {
    let mut bytes = vec![0u64; MetricsZone::bytes_for(KEYS).div_ceil(8)];
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes)).expect("a zone");
    for n in 0..3 * KEYS {
        record(n, DAY, &mut |record| metrics.add(record));
    }
    let keys = (0..KEYS).map(|n| (format!("key-{n:04}"), live_key(n)));
    let pool = PoolView {
        name: "main".to_owned(),
        keys: keys.collect(),
        ..PoolView::default()
    };
    let live = Live {
        pools: &[pool],
        ..Live::default()
    };
    let mut group = c.benchmark_group("totals");
    let mut n = 0;
    group.bench_function("add a request", |b| {
        b.iter(|| {
            n += 1;
            record(n, DAY, &mut |record| metrics.add(black_box(record)));
        });
    });
    group.bench_function("text of 1,000 keys", |b| {
        b.iter(|| {
            let bytes = bytemuck::cast_slice_mut(&mut bytes);
            let mut copy = MetricsCopy::of(bytes).expect("a zone");
            let metrics = copy.metrics().expect("a copy");
            render(&metrics, &live, None).len()
        });
    });
    group.finish();
}

/// A key with all values set.
fn live_key(n: usize) -> KeyView {
    KeyView {
        key: n as u32,
        in_use: 1,
        slots: 1,
        cap: 1,
        requests: Some(499),
        tokens: Some(123_456),
        attempts: [17, 0, 0, n as u32 % 2, 0, 0],
        ..KeyView::default()
    }
}

criterion_group!(benches, usage, ledger, scrape);
criterion_main!(benches);

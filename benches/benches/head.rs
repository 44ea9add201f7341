//! Scans the heads of requests with bodies of different sizes.

use openai_wire::head::{Head, HeadError, HeadScanner};
use std::hint::black_box;

use benches::bodies;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// The number of bytes that nginx reads at once from a temporary file.
const PIECE: usize = 16 * KIB;

fn scan(body: &[u8], piece: usize) -> Result<Head, HeadError> {
    let mut scanner = HeadScanner::new();
    for piece in body.chunks(piece) {
        scanner.feed(black_box(piece));
    }
    scanner.finish()
}

fn head(c: &mut Criterion) {
    let bodies = [
        ("small chat", bodies::SMALL.as_bytes().to_vec()),
        ("400 KiB prose", bodies::prose(400 * KIB)),
        ("400 KiB code", bodies::code(400 * KIB)),
        ("400 KiB escaped", bodies::escaped(400 * KIB)),
        ("400 KiB token ids", bodies::tokens(400 * KIB)),
        ("32 MiB prose", bodies::prose(32 * MIB)),
    ];
    let mut group = c.benchmark_group("request head");
    for (name, body) in &bodies {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("whole", name), body, |b, body| {
            b.iter(|| scan(black_box(body), usize::MAX));
        });
        group.bench_with_input(
            BenchmarkId::new("in pieces of 16 KiB", name),
            body,
            |b, body| {
                b.iter(|| scan(black_box(body), PIECE));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, head);
criterion_main!(benches);

//! The usage scanner over answers as they come from the upstream.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use openai_core::openai::UsageScanner;

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

criterion_group!(benches, usage);
criterion_main!(benches);

//! Routing by model, with a few patterns and with a thousand.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot go on fails by panicking"
)]

use openai_wire::head::{Captured, HeadScanner, MAX_MODEL};
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use openai_core::routes::{RouteLines, Routes};

/// Routes with `patterns` names, as many prefixes, and `expressions` regular expressions.
fn routes(patterns: usize, expressions: usize) -> Routes {
    let mut lines = RouteLines::default();
    let mut model = |pattern: String| {
        lines
            .read("model", &[&pattern, "to=main@openai"])
            .expect("a sound line");
    };
    for number in 0..patterns {
        model(format!("org-{number}/model"));
        model(format!("family-{number}-*"));
    }
    for number in 0..expressions {
        model(format!("~^(gpt|claude)-{number}[a-z]+$"));
    }
    lines.finish().expect("sound lines")
}

fn named(model: &str) -> Captured<MAX_MODEL> {
    let mut scanner = HeadScanner::new();
    scanner.feed(format!(r#"{{"model":"{model}"}}"#).as_bytes());
    scanner.finish().expect("a head").model
}

fn find(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    for (patterns, expressions) in [(5, 2), (500, 2), (500, 20)] {
        let routes = routes(patterns, expressions);
        let size = format!("{patterns} names and prefixes, {expressions} expressions");
        for (kind, model) in [
            ("name", "org-3/model"),
            ("prefix", "family-4-large-instruct"),
            ("expression", "gpt-1o"),
            ("none", "llama-3.3-70b-instruct"),
        ] {
            let model = named(model);
            group.bench_with_input(BenchmarkId::new(kind, &size), &routes, |b, routes| {
                b.iter(|| routes.find(black_box(&model)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, find);
criterion_main!(benches);

//! What the gateway adds to the latency of tokens, compared with plain nginx and with no nginx,
//! measured by `mock-upstream bench`; and thousands of open streams.

use crate::error::Result;
use crate::lab::Lab;
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::report::{Finding, Report, Target, Unit};
use crate::route::Route;
use crate::spread::Spread;
use crate::tool::{BenchResult, bench};

/// 64 words at 20 ms take 1.28 s. With 400 new streams per second, 512 are open.
const READING: [&str; 12] = [
    "-H",
    "X-Mock-Words: 64",
    "-H",
    "X-Mock-Delay: 20ms",
    "--rate",
    "400",
    "--arrivals",
    "constant",
    "-d",
    "6s",
    "--rounds",
    "2",
];
/// 21 words at 500 ms take 10 s. After that time, 4,000 streams are open.
const OPEN: [&str; 12] = [
    "-H",
    "X-Mock-Words: 21",
    "-H",
    "X-Mock-Delay: 500ms",
    "--rate",
    "400",
    "--arrivals",
    "constant",
    "-d",
    "12s",
    "--rounds",
    "1",
];

/// Enough slots even when streams pile up, so that no client waits.
const ROUTES: [Route; 2] = [Route::PLAIN, Route::gateway("keys-8000", 8_000, 1)];

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let nginx = Nginx::start(lab, &mock, &ROUTES)?;
    let at = |port: u16, path: &str| format!("http://127.0.0.1:{port}{path}/v1");
    let [plain, gateway] = ROUTES
        .each_ref()
        .map(|r| at(nginx.port(), &format!("/{}", r.name)));
    let others = [("plain", plain.clone()), ("direct", at(mock.port(), ""))];
    for (name, other) in others {
        let mut rounds = Vec::new();
        for _ in 0..lab.rounds.min(3) {
            rounds.push(bench(lab, &[other.clone(), gateway.clone()], &READING)?);
        }
        // There is no target in comparison with no nginx: most of the difference is the cost of any
        // proxy.
        let target = |micros| match name {
            "plain" => Target::AtMost(micros),
            _ => Target::None,
        };
        for (what, measure, percentile, target) in [
            ("p50 of the first token", "first_token", "p50", Target::None),
            (
                "p99 of the first token",
                "first_token",
                "p99",
                target(350.0),
            ),
            ("p99 between tokens", "between_tokens", "p99", target(200.0)),
        ] {
            let name = format!("added {what}, 512 streams, to {name}");
            report.add(&added(name, &rounds, measure, percentile, target))?;
        }
    }
    let open = [bench(lab, &[plain, gateway], &OPEN)?];
    let name = "added longest stall, 4,000 streams, to plain".to_owned();
    report.add(&added(
        name,
        &open,
        "longest_stall",
        "max",
        Target::AtMost(50_000.0),
    ))?;
    nginx.finish()
}

/// The latency that the second side adds to the first.
fn added(
    name: String,
    rounds: &[BenchResult],
    measure: &str,
    percentile: &str,
    target: Target,
) -> Finding {
    let micros = |index: usize| -> Vec<f64> {
        let sides = rounds
            .iter()
            .filter_map(|reported| reported.sides.get(index));
        sides
            .map(|side| side.latency(measure, percentile) * 1e3)
            .collect()
    };
    let (other, gateway) = (micros(0), micros(1));
    let middle = |values: &[f64]| Spread::of(values.iter().copied()).median / 1e3;
    Finding {
        name,
        unit: Unit::Microseconds,
        value: Spread::of_differences(&other, &gateway),
        target,
        note: format!(
            "{:.2} ms without, {:.2} ms with the gateway",
            middle(&other),
            middle(&gateway)
        ),
        measured: [
            ("without_us".to_owned(), other),
            ("gateway_us".to_owned(), gateway),
        ]
        .into(),
    }
}

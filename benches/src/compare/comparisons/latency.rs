//! What the lease adds to the duration of a response, for clients without pauses.

use crate::error::Result;
use crate::lab::Lab;
use crate::load::{Side, alternate};
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::report::{Finding, Report, Target, Unit};
use crate::route::Route;
use crate::spread::Spread;

const ROUTES: [Route; 2] = [Route::PLAIN, Route::gateway("keys-64", 64, 1)];

/// Number of clients, and the targets. One client measures the path itself. 64 clients keep nginx
/// busy, so that the duration of a response depends on the queue, and only the ratio is meaningful.
const CLIENTS: [(usize, Target, Target); 2] = [
    (1, Target::AtMost(60.0), Target::None),
    (64, Target::None, Target::None),
];

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let nginx = Nginx::start(lab, &mock, &ROUTES)?;
    let sides = ROUTES.each_ref().map(|route| Side {
        nginx: &nginx,
        route,
    });
    for (clients, p50, p99) in CLIENTS {
        let rounds = alternate(lab, &mock, &sides, clients)?;
        if let [plain, gateway] = rounds.as_slice() {
            let name = |what| match clients {
                1 => format!("added {what}, 1 client"),
                _ => format!("added {what}, {clients} clients"),
            };
            report.add(&added(name("p50"), p50, &plain.p50, &gateway.p50))?;
            report.add(&added(name("p99"), p99, &plain.p99, &gateway.p99))?;
        }
    }
    nginx.finish()
}

/// Compares the medians of two durations.
pub fn added(name: String, target: Target, plain: &[f64], gateway: &[f64]) -> Finding {
    let middle = |values: &[f64]| Spread::of(values.iter().copied()).median;
    let note = format!(
        "plain {:.1} µs, gateway {:.1} µs, ratio {:.3}",
        middle(plain),
        middle(gateway),
        Spread::of_ratios(plain, gateway).median
    );
    let measured = [
        ("plain_us".to_owned(), plain.to_vec()),
        ("gateway_us".to_owned(), gateway.to_vec()),
    ];
    Finding {
        name,
        unit: Unit::Microseconds,
        value: Spread::of_differences(plain, gateway),
        target,
        measured: measured.into(),
        note,
    }
}

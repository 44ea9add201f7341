//! Requests per second with a lease for each, compared with plain `proxy_pass`.

use crate::error::Result;
use crate::lab::Lab;
use crate::load::{Rounds, Side, alternate};
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::report::{Finding, Report, Target, Unit};
use crate::route::Route;
use crate::spread::Spread;

pub const CONNECTIONS: usize = 64;
const TARGET: Target = Target::AtLeast(0.85);

/// Each pool has a slot for every connection, so that no client waits.
const ROUTES: [Route; 4] = [
    Route::PLAIN,
    Route::gateway("keys-64", 64, 1),
    Route::gateway("keys-1000", 1000, 1),
    Route::gateway("client-tokens", 64, 1).with_auth(),
];

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let nginx = Nginx::start(lab, &mock, &ROUTES)?;
    let sides = ROUTES.each_ref().map(|route| Side {
        nginx: &nginx,
        route,
    });
    let rounds = alternate(lab, &mock, &sides, CONNECTIONS)?;
    if let [plain, gateways @ ..] = rounds.as_slice() {
        for (route, gateway) in ROUTES.iter().skip(1).zip(gateways) {
            report.add(&compare(
                format!("throughput, {}", route.name),
                TARGET,
                ("plain", plain),
                ("gateway", gateway),
            ))?;
        }
    }
    nginx.finish()
}

/// Compares requests per second, and the time on nginx's core.
pub fn compare(
    name: String,
    target: Target,
    (a_name, a): (&str, &Rounds),
    (b_name, b): (&str, &Rounds),
) -> Finding {
    let middle = |values: &[f64]| Spread::of(values.iter().copied()).median;
    let note = format!(
        "{a_name} {:.0}/s, {b_name} {:.0}/s; nginx's core {:.2} and {:.2} µs a request, ratio {:.3}",
        middle(&a.rate),
        middle(&b.rate),
        middle(&a.core),
        middle(&b.core),
        Spread::of_ratios(&b.core, &a.core).median,
    );
    let measured = [
        (format!("{a_name}_per_second"), a.rate.clone()),
        (format!("{b_name}_per_second"), b.rate.clone()),
        (format!("{a_name}_core_us"), a.core.clone()),
        (format!("{b_name}_core_us"), b.core.clone()),
    ];
    Finding {
        name,
        unit: Unit::Ratio,
        value: Spread::of_ratios(&a.rate, &b.rate),
        target,
        measured: measured.into(),
        note,
    }
}

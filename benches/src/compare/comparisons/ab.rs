//! The module compared with an older build: the same configuration and load, in turn.

use super::redlock::redlock;
use super::throughput::CONNECTIONS;
use crate::error::{Error, Result};
use crate::lab::Lab;
use crate::load::{Rounds, Side, alternate};
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::redis::Redis;
use crate::report::{Finding, Report, Target, Unit};
use crate::route::{Group, Route};
use crate::spread::Spread;

/// The maximum increase of nginx's time on its core for each request.
const TARGET: Target = Target::AtMost(1.02);

/// Name and route of each case. They must not use directives or variables that the older module
/// lacks. The first case has no lease: it shows the cost of a module that does nothing for the
/// request.
const CASES: [(&str, Route); 3] = [
    ("plain", Route::PLAIN),
    ("shared memory", Route::gateway("keys-64", 64, 1)),
    ("Redlock of 3", redlock("redlock-3", 256)),
];

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let module = lab.old.clone();
    let module = module.ok_or_else(|| Error::Missing("the older module (--old)".to_owned()))?;
    let before = Lab {
        module,
        ..lab.clone()
    };
    let mock = Mock::start(lab)?;
    let routes = CASES.map(|(_, route)| route);
    // Separate servers for each module, so that neither sees the other's data.
    let servers = [Redis::group(lab, 3)?, Redis::group(lab, 3)?];
    let start = |lab: &Lab, servers: &[Redis]| {
        let group = Group {
            name: "redlock-3",
            ports: servers.iter().map(Redis::port).collect(),
            // An older build may not know `retain`, which is off by default.
            more: "hand_over 0;",
        };
        Nginx::with_groups(lab, &mock, &routes, &[group])
    };
    let (old, new) = (start(&before, &servers[0])?, start(lab, &servers[1])?);
    let sides = routes
        .iter()
        .flat_map(|route| [&old, &new].map(|nginx| Side { nginx, route }));
    let sides: Vec<Side<'_>> = sides.collect();
    let rounds = alternate(lab, &mock, &sides, CONNECTIONS)?;
    for ((what, _), rounds) in CASES.iter().zip(rounds.chunks_exact(2)) {
        if let [old, new] = rounds {
            report.add(&core(what, old, new))?;
            report.add(&rate(what, old, new))?;
        }
    }
    old.finish()?;
    new.finish()
}

/// Compares the time of nginx's worker on its core for each request.
fn core(what: &str, old: &Rounds, new: &Rounds) -> Finding {
    Finding {
        target: TARGET,
        ..finding(
            format!("core time, {what}, new ÷ old"),
            "core_us",
            &old.core,
            &new.core,
        )
    }
}

fn rate(what: &str, old: &Rounds, new: &Rounds) -> Finding {
    finding(
        format!("requests/s, {what}, new ÷ old"),
        "per_second",
        &old.rate,
        &new.rate,
    )
}

fn finding(name: String, measure: &str, old: &[f64], new: &[f64]) -> Finding {
    let middle = |values: &[f64]| Spread::of(values.iter().copied()).median;
    let note = format!("{measure}: old {:.2}, new {:.2}", middle(old), middle(new));
    let measured = [
        (format!("old_{measure}"), old.to_vec()),
        (format!("new_{measure}"), new.to_vec()),
    ];
    Finding {
        name,
        unit: Unit::Ratio,
        value: Spread::of_ratios(old, new),
        target: Target::None,
        measured: measured.into(),
        note,
    }
}

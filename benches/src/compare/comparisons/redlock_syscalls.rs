//! System calls for each lease on Redis servers, when many requests share a turn of the event loop.

use std::collections::BTreeMap;

use super::redlock::{FULL_ROUNDS, redlock};
use super::throughput::CONNECTIONS;
use crate::error::Result;
use crate::lab::Lab;
use crate::load::{Side, probe};
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::redis::Redis;
use crate::report::{Finding, Report, Target, Unit};
use crate::route::{Group, Route};
use crate::site::CLIENT_TOKEN;
use crate::spread::Spread;
use crate::strace::Strace;
use crate::wrk;

const ROUTES: [Route; 2] = [Route::PLAIN, redlock("redlock-3", 256)];
/// Counts of system calls hardly vary.
const ROUNDS: usize = 3;

/// Calls per request, by name.
type Calls = BTreeMap<String, f64>;

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let servers = Redis::group(lab, 3)?;
    let group = Group {
        name: ROUTES[1].name,
        ports: servers.iter().map(Redis::port).collect(),
        more: FULL_ROUNDS,
    };
    let nginx = Nginx::with_groups(lab, &mock, &ROUTES, &[group])?;
    for route in &ROUTES {
        let side = Side {
            nginx: &nginx,
            route,
        };
        probe(&side)?;
        let rounds = (0..ROUNDS).map(|_| measure(lab, &side));
        report.add(&finding(route, rounds.collect::<Result<Vec<_>>>()?))?;
    }
    nginx.finish()
}

fn measure(lab: &Lab, side: &Side<'_>) -> Result<Calls> {
    let strace = Strace::attach(side.nginx.worker())?;
    let tally = wrk::run(lab, &side.url(), CLIENT_TOKEN, CONNECTIONS, lab.seconds)?;
    let counts = strace.finish()?;
    let share = |(name, count)| (name, count as f64 / f64::from(tally.requests));
    Ok(counts.into_iter().map(share).collect())
}

fn finding(route: &Route, rounds: Vec<Calls>) -> Finding {
    let mut measured: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, calls) in rounds.iter().flatten() {
        measured.entry(name.clone()).or_default().push(*calls);
    }
    let middle = |calls: &[f64]| Spread::of(calls.iter().copied()).median;
    let mut parts: Vec<(&str, f64)> = measured
        .iter()
        .map(|(name, calls)| (name.as_str(), middle(calls)))
        .filter(|&(_, calls)| calls >= 0.01)
        .collect();
    parts.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let parts = parts
        .iter()
        .map(|(name, calls)| format!("{name} {calls:.2}"));
    Finding {
        name: format!("system calls a request, {}", route.name),
        unit: Unit::Calls,
        value: Spread::of(rounds.iter().map(|calls| calls.values().sum())),
        target: Target::None,
        note: parts.collect::<Vec<_>>().join(", "),
        measured,
    }
}

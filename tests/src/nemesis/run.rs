//! A scenario from its start to its report.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::act;
use super::arena::{Arena, KEYS};
use super::clients::{BROKEN, COMPLETE, Clients, LEFT};
use super::judge::{judge, same_fences};
use super::report::Report;
use super::scenario::{Fault, Pace, Scenario, Victims};
use super::schedule::{Schedule, Step};
use crate::load::Load;
use crate::log_line::LogLine;
use crate::wait::patience;

/// How much is run at least.
#[derive(Debug, Clone)]
pub struct Size {
    /// So long.
    pub duration: Duration,
    /// So many leases.
    pub grants: u64,
    /// By so many clients.
    pub clients: usize,
    /// At this pace.
    pub pace: Pace,
    /// Where the logs of both gateways go, if they are to be kept.
    pub logs: Option<PathBuf>,
}

/// Beyond the end of a lock: until it is noticed, and tried again.
const SLACK: Duration = Duration::from_millis(1_500);

/// How requests end while too few nodes vote.
const UNAVAILABLE: &str = "503 lock_unavailable";

/// Runs a scenario.
pub fn run(scenario: &Scenario, seed: u64, size: &Size) -> Report {
    let Size { pace, .. } = *size;
    let mut report = Report {
        scenario: scenario.name.to_owned(),
        seed,
        ..Report::default()
    };
    let mut arena = Arena::start(pace.ttl);
    let start = Instant::now();
    let load = {
        let ports = [arena.gateways[0].port(), arena.gateways[1].port()];
        Load::start(size.clients, usize::MAX, move || {
            let clients = Clients {
                ports,
                seed,
                ttl: pace.ttl,
                leavers: scenario.leavers,
            };
            move |number| clients.send(number)
        })
    };
    for steps in Schedule::new(scenario, pace, seed) {
        round(&mut arena, pace, &steps);
        for step in &steps {
            *report
                .faults
                .entry(format!("{:?}", step.fault))
                .or_default() += 1;
        }
        match healed(&arena) {
            Some(took) => report.heal_ms = report.heal_ms.max(took.as_millis()),
            None => {
                report.violations.push("the nodes do not heal".to_owned());
                break;
            }
        }
        let grants = arena.mock.stats().totals.requests;
        if start.elapsed() >= size.duration && grants >= size.grants {
            break;
        }
        if start.elapsed() >= (size.duration * 5).max(patience()) {
            let few = format!("only {grants} grants in {:?}", start.elapsed());
            report.violations.push(few);
            break;
        }
    }
    report.seconds = start.elapsed().as_secs_f64();
    report.requests = load.stop();
    let stats = arena.mock.stats();
    report.grants = stats.totals.requests;
    for gateway in 0..arena.gateways.len() {
        let (taken, took) = arena.take_all(gateway, pace.ttl + SLACK);
        report.stuck = report.stuck.max(KEYS - taken);
        report.free_ms = report.free_ms.max(took.as_millis());
    }
    // A lock is renewed every third of its TTL, unless nodes fail.
    let valid = match scenario.victims {
        Victims::None => pace.ttl / 2,
        _ => Duration::ZERO,
    };
    let overlaps = judge(&arena.mock.overlaps(), &arena.standstills, start, valid);
    report.highest = match (overlaps.stale, overlaps.violations.is_empty()) {
        (1.., true) => 1,
        _ => arena.mock.stats().max_in_flight_of_a_key(),
    };
    report.stale = overlaps.stale;
    report.cut_off_ms = overlaps.cut_off.as_millis();
    report.violations.extend(overlaps.violations);
    if let Some(dir) = &size.logs {
        keep_logs(&arena, &dir.join(scenario.name));
    }
    let lines: Vec<_> = arena
        .gateways
        .iter()
        .flat_map(|gateway| LogLine::read_all(&gateway.dir().join("access.log")))
        .collect();
    report.lost = lines.iter().filter(|l| l.lease_status == "lost").count();
    report.wait_p99_ms = p99(&lines);
    if report.stuck > 0 {
        let stuck = format!("{} slots are stuck", report.stuck);
        report.violations.push(stuck);
    }
    let same = same_fences(&lines);
    if same > 0 {
        report
            .violations
            .push(format!("{same} fences were given twice"));
    }
    for (cause, count) in &report.requests {
        // Those that a worker was about to serve when it was stopped may be refused.
        let stops = report.faults.get("StopWorker").copied().unwrap_or(0);
        let pardoned = cause == UNAVAILABLE && *count <= stops * size.clients / 2;
        if !pardoned && !may_be(scenario, cause) {
            report.violations.push(format!("{cause}: {count}"));
        }
    }
    report
}

fn keep_logs(arena: &Arena, dir: &Path) {
    fs::create_dir_all(dir).expect("a directory for the logs");
    for (number, gateway) in arena.gateways.iter().enumerate() {
        for log in ["access.log", "error.log"] {
            let copy = dir.join(format!("{number}-{log}"));
            fs::copy(gateway.dir().join(log), copy).expect("a log can be copied");
        }
    }
}

/// Does what the steps say, when they say it.
fn round(arena: &mut Arena, pace: Pace, steps: &[Step]) {
    let mut acts: Vec<_> = steps
        .iter()
        .flat_map(|step| [(step.at, step, true), (step.at + step.hold, step, false)])
        .collect();
    acts.sort_by_key(|&(at, ..)| at);
    let start = Instant::now();
    for (at, step, begins) in acts {
        thread::sleep((start + at).saturating_duration_since(Instant::now()));
        if begins {
            act::begin(arena, step);
        } else {
            act::end(arena, step);
        }
    }
    thread::sleep((start + pace.round).saturating_duration_since(Instant::now()));
}

/// How long it takes until all nodes vote again.
fn healed(arena: &Arena) -> Option<Duration> {
    let start = Instant::now();
    while start.elapsed() < patience() * 2 {
        if arena.is_healthy() {
            return Some(start.elapsed());
        }
    }
    None
}

/// Whether requests may end so.
fn may_be(scenario: &Scenario, cause: &str) -> bool {
    let stops = scenario.disturbs_workers_by(Fault::StopWorker);
    match cause {
        COMPLETE | LEFT => true,
        BROKEN => scenario.disturbs_workers_by(Fault::KillWorker),
        "200 lease_lost" | "503 lease_lost" => stops || !scenario.available,
        UNAVAILABLE => !scenario.available,
        _ => false,
    }
}

fn p99(lines: &[LogLine]) -> u64 {
    let mut waits: Vec<u64> = lines
        .iter()
        .filter_map(|line| line.wait_ms.parse().ok())
        .collect();
    waits.sort_unstable();
    let at = (waits.len() * 99).div_ceil(100).saturating_sub(1);
    waits.get(at).copied().unwrap_or(0)
}

//! A scenario from its start to its report.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::act;
use super::arena::{Arena, DRIFT, KEYS};
use super::clients::Clients;
use super::report::{Report, table};
use super::scenario::{Pace, Scenario};
use super::schedule::{Schedule, Step};
use super::stall::Stalls;
use super::verdict;
use crate::load::Load;
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

impl Size {
    /// One round, of some seconds.
    pub fn short() -> Self {
        Self {
            duration: Duration::ZERO,
            grants: 300,
            clients: 24,
            pace: Pace::short(),
            logs: None,
        }
    }
}

/// Beyond the end of a lock: until it is noticed, and tried again.
const SLACK: Duration = Duration::from_millis(1_500);

/// How often a run is repeated that shows nothing, because the machine stood still.
const ATTEMPTS: usize = 3;

/// Runs a scenario.
pub fn run(scenario: &Scenario, seed: u64, size: &Size) -> Report {
    let mut report = attempt(scenario, seed, size);
    for _ in 1..ATTEMPTS {
        // A worker that was kept from running let go of its locks too late: that shows nothing.
        let stalled = report.stall_ms >= size.pace.ttl.mul_f64(DRIFT).as_millis();
        if report.violations.is_empty() || !stalled {
            break;
        }
        eprintln!(
            "kept from running for too long, so once more; it was\n{}",
            table(&[report])
        );
        report = attempt(scenario, seed, size);
    }
    report
}

fn attempt(scenario: &Scenario, seed: u64, size: &Size) -> Report {
    let pace = size.pace;
    let mut report = Report {
        scenario: scenario.name.to_owned(),
        seed,
        ..Report::default()
    };
    let mut arena = Arena::start(pace.ttl);
    let stalls = Stalls::watch();
    let start = Instant::now();
    let load = clients(&arena, scenario, seed, size);
    for steps in Schedule::new(scenario, pace, seed) {
        round(&mut arena, pace, &steps);
        for step in &steps {
            let kind = format!("{:?}", step.fault);
            *report.faults.entry(kind).or_default() += 1;
        }
        match healed(&arena) {
            Some(took) => report.heal_ms = report.heal_ms.max(took.as_millis()),
            None => {
                report.violations.push("the nodes do not heal".to_owned());
                break;
            }
        }
        let grants = arena.mock.stats().totals.requests;
        let shown = !scenario.wants_stale() || !arena.mock.overlaps().is_empty();
        if start.elapsed() >= size.duration && grants >= size.grants && shown {
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
    report.grants = arena.mock.stats().totals.requests;
    report.stall_ms = stalls.longest().as_millis();
    for gateway in 0..arena.gateways.len() {
        let (taken, took) = arena.take_all(gateway, pace.ttl + SLACK);
        report.stuck = report.stuck.max(KEYS - taken);
        report.free_ms = report.free_ms.max(took.as_millis());
    }
    if let Some(dir) = &size.logs {
        keep_logs(&arena, &dir.join(scenario.name));
    }
    verdict::pronounce(&mut report, &arena, scenario, start, size);
    report
}

fn clients(arena: &Arena, scenario: &Scenario, seed: u64, size: &Size) -> Load<String> {
    let ports = [arena.gateways[0].port(), arena.gateways[1].port()];
    let (ttl, leavers) = (size.pace.ttl, scenario.leavers);
    Load::start(size.clients, usize::MAX, move || {
        let clients = Clients {
            ports,
            seed,
            ttl,
            leavers,
        };
        move |number| clients.send(number)
    })
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

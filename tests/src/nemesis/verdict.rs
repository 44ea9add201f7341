//! Whether what came of a scenario may be.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::arena::{Arena, NODE_TIMEOUT};
use super::clients::{BROKEN, COMPLETE, LEFT};
use super::overlaps::judge;
use super::report::Report;
use super::run::Size;
use super::scenario::{Fault, Scenario, Victims};
use crate::log_line::LogLine;

/// How requests end while too few nodes vote.
const UNAVAILABLE: &str = "503 lock_unavailable";
/// The request has waited for as long as it may, which goes on while its worker stands still.
const WAITED: &str = "429 no_key_available";
/// How they end when the lease is lost, in the stream or before it.
const LOST: [&str; 2] = ["200 lease_lost", "503 lease_lost"];

/// So many overlaps are shown; they come in crowds.
const SHOWN: usize = 5;

/// Adds what the witness and the logs report.
pub(crate) fn pronounce(
    report: &mut Report,
    arena: &Arena,
    scenario: &Scenario,
    start: Instant,
    size: &Size,
) {
    let lines: Vec<_> = arena
        .gateways
        .iter()
        .flat_map(|gateway| LogLine::read_all(&gateway.dir().join("access.log")))
        .collect();
    report.lost = lines.iter().filter(|l| l.lease_status == "lost").count();
    report.wait_p99_ms = p99(&lines);
    exclusivity(report, arena, scenario, start, size);
    let same = same_fences(&lines);
    if same > 0 {
        let same = format!("{same} fences were given twice");
        report.violations.push(same);
    }
    if report.stuck > 0 {
        let stuck = format!("{} slots are stuck", report.stuck);
        report.violations.push(stuck);
    }
    failures(report, scenario, size);
}

fn exclusivity(
    report: &mut Report,
    arena: &Arena,
    scenario: &Scenario,
    start: Instant,
    size: &Size,
) {
    // A lock is prolonged long before, unless nodes fail.
    let valid = match scenario.victims {
        Victims::None => size.pace.ttl / 2,
        _ => Duration::ZERO,
    };
    let judgement = judge(&arena.mock.overlaps(), &arena.standstills, start, valid);
    report.stale = judgement.stale;
    report.cut_off_ms = judgement.cut_off.as_millis();
    report.highest = arena.mock.stats().max_in_flight_of_a_key();
    if report.stale > 0 && judgement.violations.is_empty() {
        report.highest = 1;
    }
    let found = judgement.violations.len();
    report
        .violations
        .extend(judgement.violations.into_iter().take(SHOWN));
    if found > SHOWN {
        report.violations.push(format!("{found} of these in all"));
    }
    if scenario.wants_stale() && report.stale == 0 {
        let none = "no worker stood still with a key that others used".to_owned();
        report.violations.push(none);
    }
}

fn failures(report: &mut Report, scenario: &Scenario, size: &Size) {
    let happened = |fault: Fault| {
        let kind = format!("{fault:?}");
        report.faults.get(&kind).copied().unwrap_or(0)
    };
    let (kills, stops) = (happened(Fault::KillWorker), happened(Fault::StopWorker));
    // At most all clients of its gateway.
    let of_a_worker = size.clients.div_ceil(2);
    // When the machine keeps a node or a worker waiting, nothing can be said of being in time.
    let stalled = report.stall_ms >= NODE_TIMEOUT.as_millis() / 2;
    let excused = |cause: &str, count: usize| match cause {
        COMPLETE | LEFT => true,
        BROKEN => count <= kills * of_a_worker,
        WAITED => count <= stops * of_a_worker,
        UNAVAILABLE => !scenario.available || stalled || count <= stops * of_a_worker,
        _ if LOST.contains(&cause) => {
            !scenario.available || stalled || count <= stops * of_a_worker
        }
        _ => false,
    };
    let failures: Vec<_> = report
        .requests
        .iter()
        .filter(|&(cause, &count)| !excused(cause, count))
        .map(|(cause, count)| format!("{cause}: {count}"))
        .collect();
    report.violations.extend(failures);
}

/// How many leases of a slot have the fence of another.
fn same_fences(lines: &[LogLine]) -> usize {
    let mut seen = BTreeSet::new();
    let leases = lines.iter().filter(|line| !line.fence.is_empty());
    leases
        .filter(|line| !seen.insert((&line.key_id, &line.slot, &line.fence)))
        .count()
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

//! Faults, as they are done to the running system.

use std::time::Duration;

use super::arena::Arena;
use super::scenario::Fault;
use super::schedule::{GATEWAYS, Step, Target};
use crate::link::{Link, Way};
use crate::port::closed_port;

/// A fault begins.
pub(crate) fn begin(arena: &mut Arena, step: &Step) {
    match step.target {
        Target::Gateway(at) => match step.fault {
            Fault::KillWorker => arena.kill_worker(at, step.whim),
            Fault::StopWorker => arena.stop_worker(at, step.whim),
            _ => arena.gateways[at].reload(|plan| plan),
        },
        Target::Node(at) => disturb(arena, at, step),
    }
}

fn disturb(arena: &mut Arena, at: usize, step: &Step) {
    let node = &mut arena.nodes[at];
    match step.fault {
        Fault::Pause => node.pause(),
        Fault::Kill => node.kill(),
        Fault::Flush => expect_ok(&node.ask("FLUSHALL")),
        Fault::ScriptFlush => expect_ok(&node.ask("SCRIPT FLUSH")),
        Fault::Sleep => node.send(&format!("DEBUG SLEEP {}", step.hold.as_secs_f64())),
        Fault::Memory => expect_ok(&node.ask("CONFIG SET maxmemory 1")),
        Fault::ReadOnly if is_replica(step) => {
            // It never synchronizes, so it forgets nothing.
            expect_ok(&node.ask(&format!("REPLICAOF 127.0.0.1 {}", closed_port())));
        }
        Fault::ReadOnly => expect_ok(&node.ask("CONFIG SET min-replicas-to-write 1")),
        Fault::Reset => links(arena, at, step).for_each(Link::cut),
        Fault::Blackhole | Fault::OneWay | Fault::Delay => {
            let (there, back) = ways(step);
            links(arena, at, step).for_each(|link| link.set(there, back));
        }
        Fault::KillWorker | Fault::StopWorker | Fault::Reload => {}
    }
}

/// A fault ends.
pub(crate) fn end(arena: &mut Arena, step: &Step) {
    let at = match step.target {
        Target::Gateway(at) => return arena.resume_worker(at),
        Target::Node(at) => at,
    };
    let node = &mut arena.nodes[at];
    match step.fault {
        Fault::Pause => node.resume(),
        Fault::Kill => node.restart(),
        Fault::Memory => expect_ok(&node.ask("CONFIG SET maxmemory 0")),
        Fault::ReadOnly if is_replica(step) => expect_ok(&node.ask("REPLICAOF NO ONE")),
        Fault::ReadOnly => expect_ok(&node.ask("CONFIG SET min-replicas-to-write 0")),
        Fault::Blackhole | Fault::OneWay | Fault::Delay => {
            links(arena, at, step).for_each(|link| link.set(Way::Open, Way::Open));
        }
        // Over by themselves.
        _ => {}
    }
}

#[track_caller]
fn expect_ok(answer: &str) {
    assert_eq!(answer, "OK");
}

fn is_replica(step: &Step) -> bool {
    step.whim.is_multiple_of(2)
}

/// The links of a node that are meant: those of both gateways, or of one.
fn links<'a>(arena: &'a Arena, node: usize, step: &Step) -> impl Iterator<Item = &'a Link> {
    let one = (step.whim / 4) as usize % (GATEWAYS + 1);
    let meant = move |&gateway: &usize| one == GATEWAYS || one == gateway;
    (0..GATEWAYS)
        .filter(meant)
        .map(move |gateway| &arena.links[gateway][node])
}

/// What becomes of commands, and of answers.
fn ways(step: &Step) -> (Way, Way) {
    let [first, second] = [
        step.whim.is_multiple_of(2),
        (step.whim / 2).is_multiple_of(2),
    ];
    let gone = if first { Way::Held } else { Way::Lost };
    match step.fault {
        Fault::Delay => {
            let late = Way::Late(Duration::from_millis(if first { 100 } else { 200 }));
            (late, late)
        }
        Fault::OneWay if second => (gone, Way::Open),
        Fault::OneWay => (Way::Open, gone),
        _ => (gone, gone),
    }
}

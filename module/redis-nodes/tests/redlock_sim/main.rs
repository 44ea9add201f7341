//! Simulation of groups of nodes in virtual time: clients with the real state machines, nodes with
//! a model of the scripts, and faults of the network, clocks and processes.
//!
//! Clients and nodes exchange the bytes of the real protocol. `REDLOCK_SIM_HISTORIES=100000` sets
//! the number of histories, `REDLOCK_SIM_SEED=7` selects one. A failure prints its seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it ran"
)]

mod aftermath;
mod attempt;
mod checker;
mod client;
mod machine;
mod message;
#[path = "../../../core/tests/redlock_model/store.rs"]
#[allow(
    dead_code,
    reason = "shared with tests of the scripts, which use the rest"
)]
mod model;
mod network;
mod node;
mod plan;
mod resp;
#[path = "../../../core/tests/redlock_model/rng.rs"]
mod rng;
mod tenure;
mod world;

use std::env;
use std::ops::Range;

use checker::Counts;
use plan::{Plan, Sabotage};
use rng::Rng;
use world::World;

/// Default number of histories.
const HISTORIES: u64 = 500;
/// Maximum number of histories to search for a violation.
const SEARCHED: u64 = 20_000;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// The faults in a history.
#[derive(Clone, Copy)]
enum Kind {
    /// All kinds of faults.
    Random,
    /// Late messages; no node loses data.
    Late,
    /// Clocks of nodes are set forward, and nodes do not answer for a while.
    Clocks,
    /// No faults.
    Calm,
    /// All kinds of faults; machines retain locks.
    Retaining,
}

/// Runs the history of a seed. Returns the violation, if there was one.
fn run(seed: u64, sabotage: Option<Sabotage>, kind: Kind) -> Result<Counts, String> {
    let mut rng = Rng::new(seed);
    let plan = match kind {
        Kind::Random => Plan::random(&mut rng),
        Kind::Late => Plan::late(&mut rng),
        Kind::Clocks => Plan::clocks(&mut rng),
        Kind::Calm => Plan::calm(&mut rng),
        Kind::Retaining => Plan::retaining(&mut rng),
    };
    let mut world = World::new(plan, sabotage, rng);
    let counts = world.run();
    let left_over = match kind {
        // No lock may remain on a node after all messages have been processed.
        Kind::Calm => world.holds_any(),
        Kind::Random | Kind::Late | Kind::Clocks | Kind::Retaining => {
            world.check_aftermath();
            None
        }
    };
    match world.checker.violation.take().or(left_over) {
        Some(violation) => {
            let plan = &world.plan;
            Err(format!("REDLOCK_SIM_SEED={seed}: {violation}\n{plan:#?}"))
        }
        None => Ok(counts),
    }
}

/// The seeds to run: the selected one, or the given number.
fn seeds(count: u64) -> Range<u64> {
    number("REDLOCK_SIM_SEED").map_or(0..count, |seed| seed..seed + 1)
}

/// Runs the histories of some seeds, none of which may violate an invariant.
fn run_all(seeds: Range<u64>, kind: Kind) -> Counts {
    let mut counts = Counts::default();
    for seed in seeds {
        counts.add(&run(seed, None, kind).unwrap_or_else(|violation| panic!("{violation}")));
    }
    counts
}

#[test]
fn leases_exclude_one_another_whatever_happens() {
    let seeds = seeds(number("REDLOCK_SIM_HISTORIES").unwrap_or(HISTORIES));
    let many = seeds.end - seeds.start >= HISTORIES;
    let counts = run_all(seeds, Kind::Random);
    println!("{counts:?}");
    let is_tame = many && counts.least() < 10;
    assert!(!is_tame, "the histories are too tame: {counts:?}");
}

#[test]
fn leases_exclude_one_another_when_clocks_of_nodes_are_set_forward() {
    let count = number("REDLOCK_SIM_HISTORIES").unwrap_or(HISTORIES);
    run_all(seeds(count), Kind::Clocks);
}

#[test]
fn what_was_granted_in_vain_is_given_back_without_waiting_for_its_end() {
    run_all(seeds(HISTORIES / 4), Kind::Calm);
}

#[test]
fn without_a_rule_the_checker_finds_the_fault() {
    for (rule, near) in [
        (Sabotage::Quorum, 0),
        (Sabotage::Guard, 10),
        (Sabotage::Incarnation, 23),
        (Sabotage::Validity, 1_148),
        (Sabotage::Fence, 3),
        (Sabotage::Block, 238),
        (Sabotage::Shorten, 984),
        (Sabotage::Operation, 1),
    ] {
        find(rule, near, Kind::Random);
    }
    find(Sabotage::Votes, 825, Kind::Late);
    find(Sabotage::Clock, 47, Kind::Clocks);
    for (rule, near) in [
        (Sabotage::ReuseFence, 1),
        (Sabotage::ReuseLate, 159),
        (Sabotage::ReuseTwice, 1),
    ] {
        find(rule, near, Kind::Retaining);
    }
}

#[test]
fn leases_exclude_one_another_when_locks_are_retained() {
    let seeds = seeds(number("REDLOCK_SIM_HISTORIES").unwrap_or(HISTORIES));
    let many = seeds.end - seeds.start >= HISTORIES;
    let counts = run_all(seeds, Kind::Retaining);
    println!("{counts:?}");
    let is_tame = many && counts.retained.min(counts.reused) < 100;
    assert!(!is_tame, "too few locks are retained: {counts:?}");
}

#[test]
fn without_a_rule_something_is_left_over() {
    for (rule, near) in [(Sabotage::Ends, 8), (Sabotage::Tend, 16)] {
        find(rule, near, Kind::Calm);
    }
}

/// Searches for a history that violates an invariant when a rule is disabled, and does not
/// otherwise. The search starts at a seed where such a history was found before, to save time.
fn find(rule: Sabotage, near: u64, kind: Kind) {
    let fault = |seed| Some((seed, run(seed, Some(rule), kind).err()?));
    let (seed, violation) = (near..SEARCHED)
        .chain(0..near)
        .find_map(fault)
        .unwrap_or_else(|| panic!("without {rule:?} nothing breaks"));
    let first = violation.lines().next().unwrap_or_default();
    println!("without {rule:?}: {first}");
    let with_rule = run(seed, None, kind).map(drop);
    assert_eq!(with_rule, Ok(()), "with {rule:?}");
}

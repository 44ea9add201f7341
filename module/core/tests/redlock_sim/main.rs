//! Redlock in virtual time: clients with the real state machines, nodes with a model of the
//! scripts, and faults of network, clocks and processes.
//!
//! `REDLOCK_SIM_HISTORIES=100000` sets the number of histories, `REDLOCK_SIM_SEED=7` runs a
//! single seed. A failure prints its seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells what it ran"
)]

mod aftermath;
mod attempt;
mod checker;
mod client;
mod machine;
mod message;
mod model;
mod node;
mod plan;
mod rng;
mod tenure;
mod world;

use std::env;

use checker::Counts;
use plan::{Plan, Sabotage};
use rng::Rng;
use world::World;

/// Default number of histories.
const HISTORIES: u64 = 1_500;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

fn history(seed: u64, sabotage: Option<Sabotage>) -> Result<Counts, String> {
    let mut rng = Rng::new(seed);
    let plan = Plan::random(&mut rng);
    let mut world = World::new(plan, sabotage, rng);
    let counts = world.run();
    world.check_aftermath();
    match world.checker.violation.take() {
        Some(violation) => Err(format!(
            "REDLOCK_SIM_SEED={seed}: {violation}\n{:#?}",
            world.plan
        )),
        None => Ok(counts),
    }
}

/// A history without faults: no lock may remain at the end.
fn calm_history(seed: u64, sabotage: Option<Sabotage>) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let plan = Plan::calm(&mut rng);
    let mut world = World::new(plan, sabotage, rng);
    world.run();
    match world.checker.violation.take().or_else(|| world.holds_any()) {
        Some(violation) => Err(format!("seed {seed}: {violation}")),
        None => Ok(()),
    }
}

#[test]
fn leases_exclude_one_another_whatever_happens() {
    let seeds = match number("REDLOCK_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("REDLOCK_SIM_HISTORIES").unwrap_or(HISTORIES),
    };
    let many = seeds.end - seeds.start >= HISTORIES;
    let mut counts = Counts::default();
    for seed in seeds {
        counts.add(&history(seed, None).unwrap_or_else(|violation| panic!("{violation}")));
    }
    println!("{counts:?}");
    if many {
        let Counts {
            won,
            extended,
            lost,
            busy,
            retries,
            no_quorum,
            quarantine,
            too_late,
            abandoned,
            strays,
            restored,
            restarts,
            handed_over,
            entrusted,
            prolonged,
            refused,
            given_back,
        } = counts;
        let all = [
            won,
            extended,
            lost,
            busy,
            retries,
            no_quorum,
            quarantine,
            too_late,
            abandoned,
            strays,
            restored,
            restarts,
            handed_over,
            entrusted,
            prolonged,
            refused,
            given_back,
        ];
        assert!(
            all.iter().all(|&count| count >= 10),
            "the histories are too tame: {counts:?}"
        );
    }
}

#[test]
fn what_was_granted_in_vain_is_given_back_without_waiting_for_its_end() {
    for seed in 0..HISTORIES / 4 {
        assert_eq!(calm_history(seed, None), Ok(()));
    }
}

#[test]
fn without_a_rule_the_checker_finds_the_fault() {
    use Sabotage::{Block, Fence, Guard, Incarnation, Operation, Quorum, Shorten, Validity, Votes};
    for rule in [
        Quorum,
        Guard,
        Incarnation,
        Validity,
        Fence,
        Block,
        Shorten,
        Operation,
        Votes,
    ] {
        find(rule, |seed, sabotage| history(seed, sabotage).map(drop));
    }
}

#[test]
fn without_a_rule_something_is_left_over() {
    for rule in [Sabotage::Ends, Sabotage::Tend] {
        find(rule, calm_history);
    }
}

/// Finds a history that fails without a rule and passes with it.
fn find(rule: Sabotage, history: impl Fn(u64, Option<Sabotage>) -> Result<(), String>) {
    let found = (0..20_000).find_map(|seed| history(seed, Some(rule)).err().map(|e| (seed, e)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("without {rule:?} nothing breaks"));
    println!(
        "without {rule:?}, seed {seed}: {}",
        violation.lines().next().unwrap_or_default()
    );
    assert_eq!(history(seed, None), Ok(()), "with {rule:?}");
}

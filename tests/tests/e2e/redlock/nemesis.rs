//! Exclusivity under nemeses, each for a few seconds; `make nemesis` runs them at full length.

use std::collections::BTreeSet;

use e2e::nemesis::{Pace, Scenario, Schedule, Size, Step, Victims, run, table};

const SEED: u64 = 1;

#[track_caller]
fn withstands(name: &str) {
    let scenario = Scenario::named(name).expect("a scenario");
    let report = run(scenario, SEED, &Size::short());
    assert!(report.violations.is_empty(), "{}", table(&[report]));
}

macro_rules! scenarios {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            withstands($name);
        })*

        /// None is left out.
        #[test]
        fn all_scenarios_are_run() {
            let names = e2e::nemesis::SCENARIOS.iter().map(|scenario| scenario.name);
            assert_eq!(names.collect::<Vec<_>>(), [$($name),*]);
        }
    };
}

scenarios! {
    nodes_that_are_stopped: "pause",
    nodes_that_are_killed_and_come_back_empty: "kill",
    nodes_that_forget_all: "flush",
    nodes_that_forget_their_scripts: "script-flush",
    nodes_that_nothing_reaches: "blackhole",
    nodes_that_are_reached_in_one_direction: "one-way",
    nodes_that_are_far_away: "delay",
    nodes_whose_connections_are_reset: "reset",
    nodes_that_are_busy: "sleep",
    nodes_that_are_out_of_memory: "memory",
    nodes_that_are_read_only: "read-only",
    workers_that_are_killed: "kill-worker",
    workers_that_stand_still: "stop-worker",
    gateways_that_are_reloaded: "reload",
    clients_that_leave: "leave",
    all_of_these_at_random: "storm",
    a_majority_that_is_gone_for_a_while: "majority",
    all_of_these_on_all_nodes: "chaos",
}

fn schedule(name: &str, seed: u64) -> Vec<Vec<Step>> {
    let scenario = Scenario::named(name).expect("a scenario");
    Schedule::new(scenario, Pace::short(), seed)
        .take(20)
        .collect()
}

#[test]
fn a_schedule_is_a_function_of_its_seed() {
    for scenario in e2e::nemesis::SCENARIOS {
        let steps = schedule(scenario.name, SEED);
        assert_eq!(schedule(scenario.name, SEED), steps);
        let faults = !scenario.nodes.is_empty() || !scenario.gateways.is_empty();
        assert_eq!(schedule(scenario.name, SEED + 1) != steps, faults);
    }
}

/// Otherwise one fault would end the other.
#[test]
fn faults_of_one_target_do_not_overlap() {
    for scenario in e2e::nemesis::SCENARIOS {
        for steps in schedule(scenario.name, SEED) {
            for (at, step) in steps.iter().enumerate() {
                let next = steps[at + 1..].iter().find(|s| s.target == step.target);
                assert!(next.is_none_or(|next| next.at >= step.at + step.hold));
            }
        }
    }
}

#[test]
fn no_round_touches_more_nodes_than_its_scenario_says() {
    for scenario in e2e::nemesis::SCENARIOS {
        let most = match scenario.victims {
            Victims::None => 0,
            Victims::Two => 2,
            Victims::Three => 3,
            Victims::Any => 5,
        };
        for steps in schedule(scenario.name, SEED) {
            let of_nodes = steps.iter().filter(|s| scenario.nodes.contains(&s.fault));
            let touched: BTreeSet<_> = of_nodes.map(|step| step.target).collect();
            assert!(touched.len() <= most, "{}: {touched:?}", scenario.name);
        }
    }
}

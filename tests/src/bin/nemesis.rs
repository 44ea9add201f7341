//! Runs nemesis scenarios at full length: see [`e2e::nemesis`].
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the program's output"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use e2e::nemesis::{Pace, Report, SCENARIOS, Scenario, Schedule, Size, run, table};

/// Tests that leases are exclusive while Redis servers, links, workers and clients fail.
///
/// Prints a line of JSON for each scenario, and a table at the end. The exit status is 1 if a check
/// failed.
#[derive(Parser)]
#[command(name = "nemesis")]
struct Args {
    /// Scenarios to run; by default all.
    #[arg(value_parser = named)]
    scenarios: Vec<&'static Scenario>,
    /// Minimum duration of each scenario in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Minimum number of leases that each scenario grants.
    #[arg(long, default_value_t = 20_000)]
    grants: u64,
    /// Seed of the faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of clients.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Runs each scenario for a few seconds, as the end-to-end suite does.
    #[arg(long, conflicts_with_all = ["seconds", "grants", "clients"])]
    short: bool,
    /// Keeps the logs of both gateways, in a subdirectory for each scenario.
    #[arg(long, value_name = "DIRECTORY")]
    logs: Option<PathBuf>,
    /// Prints the first rounds of the schedule instead of running them.
    #[arg(long, value_name = "ROUNDS")]
    show: Option<usize>,
}

fn named(name: &str) -> Result<&'static Scenario, String> {
    Scenario::named(name).ok_or_else(|| {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let args = Args::parse();
    let size = Size {
        logs: args.logs,
        ..if args.short {
            Size::short()
        } else {
            Size {
                duration: Duration::from_secs(args.seconds),
                grants: args.grants,
                clients: args.clients,
                pace: Pace::long(),
                logs: None,
            }
        }
    };
    let mut scenarios = args.scenarios;
    if scenarios.is_empty() {
        scenarios.extend(SCENARIOS);
    }
    if let Some(rounds) = args.show {
        for scenario in scenarios {
            for (number, steps) in Schedule::new(scenario, size.pace, args.seed)
                .take(rounds)
                .enumerate()
            {
                println!("{}, round {}", scenario.name, number + 1);
                for step in steps {
                    let (at, hold) = (step.at.as_secs_f64(), step.hold.as_secs_f64());
                    println!(
                        "{at:>8.3} s {:?} {:?} for {hold:.3} s",
                        step.target, step.fault
                    );
                }
            }
        }
        return ExitCode::SUCCESS;
    }
    let mut reports = Vec::new();
    for scenario in scenarios {
        eprintln!("{}, seed {}", scenario.name, args.seed);
        let report = guarded(scenario, args.seed, size.clone());
        println!("{}", report.json());
        reports.push(report);
    }
    println!("\n{}", table(&reports));
    if reports.iter().all(|report| report.violations.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What the harness finds at the end of every test, it says by a panic.
fn guarded(scenario: &'static Scenario, seed: u64, size: Size) -> Report {
    let run = thread::spawn(move || run(scenario, seed, &size));
    run.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()));
        Report {
            scenario: scenario.name.to_owned(),
            seed,
            violations: vec![text.unwrap_or_else(|| "it panicked".to_owned())],
            ..Report::default()
        }
    })
}

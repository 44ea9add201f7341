//! Compares the gateway with plain nginx: on the same machine at the same time, with one worker,
//! the same mock upstream, and settings that only differ in the lease.
//!
//! Noise lasts longer than a measurement. Therefore the sides are measured in turn, repeatedly, and
//! compared within each round; the result is the median of these ratios. The time that nginx spends
//! on its core is reported as well: it hardly depends on what else runs on the machine.

mod comparisons;
mod cores;
mod error;
mod lab;
mod litellm;
mod load;
mod lua_mock;
mod mock;
mod nginx;
mod process;
mod redis;
mod report;
mod route;
mod site;
mod spread;
mod strace;
mod stream;
mod tool;
mod wrk;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::comparisons::Comparison;
use crate::cores::Cores;
use crate::error::Result;
use crate::lab::{Lab, load_average};
use crate::report::Report;

/// Compares the gateway with plain nginx.
///
/// A missed target is reported, but is not a failure, because the machine may be busy. A wrong
/// response, a refused connection, or a line in nginx's error log is a failure.
#[derive(Debug, Parser)]
struct Args {
    /// What to compare [default: everything]
    #[arg(value_enum)]
    comparisons: Vec<Comparison>,

    /// nginx binary for both sides
    #[arg(long, default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,

    /// Build directory; the module and the mock are in its subdirectory `release`
    #[arg(long, env = "CARGO_TARGET_DIR", default_value = "target")]
    target: PathBuf,

    /// For `ab`: the module built from older code
    #[arg(long, required_if_eq("comparisons", "ab"))]
    old: Option<PathBuf>,

    /// The module to measure [default: the one in TARGET/release]
    #[arg(long)]
    new: Option<PathBuf>,

    /// File to append results to, one JSON object per line [default: TARGET/bench/results.jsonl]
    #[arg(long)]
    results: Option<PathBuf>,

    /// Number of measurements of each side [default: 7, with `ab` 15]
    #[arg(long)]
    rounds: Option<usize>,

    /// Duration of a measurement in seconds
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

/// A load average above which the results are unreliable.
const BUSY: f64 = 0.5;

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the program's output")]
            {
                eprintln!("compare: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the program's output")]
fn run(args: Args) -> Result<()> {
    allow_many_connections();
    // nginx runs in another directory, so paths must be absolute.
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let target = absolute(args.target);
    let built = target.join("release/ngx_http_openai_module.so");
    let mut chosen = args.comparisons;
    if chosen.is_empty() {
        chosen = Comparison::all();
    }
    let rounds = chosen.iter().map(|comparison| comparison.rounds()).max();
    let lab = Lab {
        nginx: args.nginx,
        module: args.new.map_or(built, absolute),
        old: args.old.map(absolute),
        mock: target.join("release/mock-upstream"),
        litellm: target.join("litellm"),
        cores: Cores::allowed(),
        rounds: args.rounds.or(rounds).unwrap_or(1),
        seconds: args.seconds,
    };
    lab.check()?;
    lab.cores.move_to_others();
    let results = args.results;
    let mut report = Report::new(results.unwrap_or_else(|| target.join("bench/results.jsonl")))?;
    println!("{}; {} rounds", lab.cores, lab.rounds);
    let load = load_average();
    if load > BUSY {
        println!("the machine is busy (load {load:.2}): trust the times on nginx's core only");
    }
    println!("both sides: one worker, unbuffered, keepalive to the upstream, no access log\n");
    for comparison in chosen {
        comparison.run(&lab, &mut report)?;
    }
    match report.missed() {
        [] => println!("\nall targets met"),
        missed => println!("\nmissed: {}", missed.join("; ")),
    }
    Ok(())
}

/// Raises the limit of open files, for this process and those that it starts: each stream is one.
fn allow_many_connections() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ab_wants_an_older_module() {
        let parse = |words: &[&str]| Args::try_parse_from(words).map(drop);
        assert!(parse(&["compare", "ab"]).is_err());
        assert!(parse(&["compare", "keys", "ab"]).is_err());
        assert!(parse(&["compare", "ab", "--old", "old.so"]).is_ok());
        assert!(parse(&["compare", "keys"]).is_ok());
    }
}

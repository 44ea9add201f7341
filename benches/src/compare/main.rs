//! Compares the gateway with plain nginx: same machine, same minute, one worker, the same mock
//! upstream, and settings that differ in nothing but the lease.
//!
//! Noise comes in waves that are longer than a measurement, so the sides are measured in turn,
//! again and again, and each round is judged by itself: the result is the median of the rounds'
//! ratios. The time that nginx spends on its core is told as well; it hardly depends on what
//! else runs on the machine.

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
/// A missed target is told, not failed: the machine may be busy. A wrong answer, a refused
/// connection or a line in nginx's error log fails.
#[derive(Debug, Parser)]
struct Args {
    /// What to compare [default: everything]
    #[arg(value_enum)]
    comparisons: Vec<Comparison>,

    /// The nginx that both sides run in
    #[arg(long, default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,

    /// Where the module and the mock were built: the module and the mock are in its `release`
    #[arg(long, env = "CARGO_TARGET_DIR", default_value = "target")]
    target: PathBuf,

    /// The module built from older code, which `ab` compares with
    #[arg(long, required_if_eq("comparisons", "ab"))]
    old: Option<PathBuf>,

    /// The module that `ab` compares it with [default: the one in TARGET/release]
    #[arg(long)]
    new: Option<PathBuf>,

    /// The results are added to this file, a line of JSON each [default: TARGET/bench/results.jsonl]
    #[arg(long)]
    results: Option<PathBuf>,

    /// How often each side is measured [default: 7, of `ab` 15]
    #[arg(long)]
    rounds: Option<usize>,

    /// How many seconds each time
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

/// A load average above which throughputs and latencies say more about the machine than about us.
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
    // nginx runs elsewhere: relative paths would lead it astray.
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

/// Thousands of streams are as many open files, here and in the processes started from here.
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

//! The mock as a program.

mod args;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use mock_upstream::{ScenarioError, bench};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Args, Command, Program};

fn main() -> ExitCode {
    let program = Program::parse();
    let done = match program.command {
        Some(Command::Bench(options)) => measure(&options),
        None => run(program.serve),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "mock-upstream: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn Error>> {
    allow_many_connections();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    // The handlers are in place before the mock is announced.
    let (mut terminate, mut interrupt) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    let server = args.into_server(report)?.start()?;
    writeln!(io::stdout(), "mock-upstream listening on {}", server.url())?;
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    server.shutdown();
    Ok(())
}

fn measure(options: &bench::Options) -> Result<(), Box<dyn Error>> {
    allow_many_connections();
    let summary = bench::run(options, &mut io::stderr())?;
    writeln!(io::stdout(), "{summary}")?;
    Ok(())
}

/// A scenario file has changed.
fn report(reloaded: Result<(), &ScenarioError>) {
    let _ = match reloaded {
        Ok(()) => writeln!(io::stderr(), "mock-upstream: took the scenario file anew"),
        Err(error) => writeln!(
            io::stderr(),
            "mock-upstream: kept the old scenario: {error}"
        ),
    };
}

/// Each open stream is a file descriptor; the usual limit is 1024. Should raising it fail, the
/// mock still serves as many as it may.
fn allow_many_connections() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

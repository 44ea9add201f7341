//! Prints metrics as a gateway with some traffic tells them, for `promtool check metrics`.
#![allow(clippy::print_stdout, reason = "it is what the example is for")]

use openai_core::metrics::{Board, Day, Http, Live, LivePool, Outcome, Record, Request, render};
use openai_core::openai::Tokens;
use openai_core::openai::usage::Source;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut bytes = vec![0u64; Board::bytes_for(64).div_ceil(8)];
    let mut board = Board::format(bytemuck::cast_slice_mut(&mut bytes))?;
    let outcomes = [
        (Outcome::Success, 200),
        (Outcome::RateLimited, 429),
        (Outcome::NoKey, 429),
        (Outcome::UpstreamError, 502),
    ];
    for n in 0..100 {
        let (outcome, status) = outcomes[n % outcomes.len()];
        let key = ["first", "second"][n % 2];
        board.add(&Record {
            http: Some(Http::new(b"POST", b"/v1/chat/completions", status)),
            day: Day::from_number(20_000),
            duration_ms: 10 * n as u64,
            request: Some(Request {
                service: ["labeling", "say \"hi\"\\"][n / 50],
                pool: "main",
                key: if outcome == Outcome::NoKey { "" } else { key },
                model: "gpt-4o",
                known_model: true,
                outcome,
                attempts: 1,
                tokens: Tokens {
                    prompt: 12,
                    completion: n as u64,
                    cached: 2,
                    reasoning: 1,
                },
                source: Source::Exact,
                cost: Some(1_000_000),
                wait_ms: Some(n as u64),
                hold_ms: Some(5 * n as u64),
                first_token_ms: Some(20),
            }),
        });
    }
    let pools = [LivePool {
        name: "main",
        held: 1,
        waiting: 2,
        slots: 3,
        nodes: Some((2, 3)),
    }];
    let live = Live {
        version: "0.1.0",
        pools: &pools,
        quotas: &[],
    };
    print!("{}", render(&board, &live)?);
    Ok(())
}

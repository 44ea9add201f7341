//! Prints the metrics of a gateway with some traffic, for `promtool check metrics`.
#![allow(clippy::print_stdout, reason = "the output of the example")]

use openai_core::circuit::{CircuitState, CircuitView, Counts};
use openai_core::lease::{Cause, KeyView, PoolGauges};
use openai_core::metrics::{
    Day, Endpoint, Http, Live, MetricsZone, Outcome, PoolRequest, Record, render,
};
use openai_core::view::{NodeStatus, PoolView, UpstreamView};
use openai_wire::Tokens;
use openai_wire::usage::Source;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut bytes = vec![0u64; MetricsZone::bytes_for(64).div_ceil(8)];
    let mut metrics = MetricsZone::format(bytemuck::cast_slice_mut(&mut bytes))?;
    let outcomes = [
        (Outcome::Success, 200),
        (Outcome::RateLimited, 429),
        (Outcome::NoKey, 429),
        (Outcome::UpstreamError, 502),
    ];
    for n in 0..100 {
        let (outcome, status) = outcomes[n % outcomes.len()];
        let key = ["first", "second"][n % 2];
        metrics.add(&Record {
            http: Some(Http::new(
                b"POST",
                Endpoint::of(b"/v1/chat/completions"),
                status,
            )),
            day: Day::from_number(20_000),
            ended_ms: 0,
            duration_ms: 10 * n as u64,
            request: Some(PoolRequest {
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
    let sound = KeyView {
        in_use: 1,
        slots: 2,
        cap: 2,
        requests: Some(499),
        tokens: Some(123_456),
        attempts: [40, 0, 0, 2, 1, 0],
        ..KeyView::default()
    };
    let out = KeyView {
        cause: Some(Cause::QuotaExceeded),
        left_ms: 1_500,
        requests: None,
        tokens: None,
        ..sound
    };
    let node = |state: &str| NodeStatus {
        node: "redis:6379".to_owned(),
        state: state.to_owned(),
        error: None,
        round_trip_us: None,
    };
    let pools = [PoolView {
        name: "main".to_owned(),
        gauges: PoolGauges {
            held: 1,
            waiting: 2,
            slots: 3,
            ..PoolGauges::default()
        },
        keys: vec![("first".to_owned(), sound), ("second".to_owned(), out)],
        nodes: ["up", "down", "up"].map(node).into(),
        ..PoolView::default()
    }];
    let upstreams = [UpstreamView {
        name: "azure".to_owned(),
        circuit: CircuitView {
            state: CircuitState::Open,
            all: 20,
            failed: 12,
            until_ms: Some(1),
            trips: 1,
            recent: Counts {
                all: 20,
                failed: 12,
            },
        },
    }];
    let live = Live {
        version: "0.1.0",
        pools: &pools,
        upstreams: &upstreams,
        quotas: &[],
        active_users: 2,
        keys_refused: true,
    };
    print!("{}", render(&metrics, &live, None));
    Ok(())
}

//! The memory that nginx's worker uses for an open stream.

use std::time::Duration;

use crate::error::Result;
use crate::lab::Lab;
use crate::load::runtime;
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::process::memory;
use crate::report::{Finding, Report, Target, Unit};
use crate::route::Route;
use crate::spread::Spread;
use crate::stream::{Client, Request};

const STREAMS: usize = 2_000;
const ROUTES: [Route; 2] = [Route::PLAIN, Route::gateway("keys-2000", STREAMS, 1)];
/// Memory use hardly varies.
const ROUNDS: usize = 3;

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let mut bytes = ROUTES.each_ref().map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (route, bytes) in ROUTES.iter().zip(&mut bytes) {
            bytes.push(measure(lab, &mock, route)?);
        }
    }
    let [plain, gateway] = bytes;
    report.add(&Finding {
        name: format!("memory of a stream, of {STREAMS}"),
        unit: Unit::Bytes,
        value: Spread::of_differences(&plain, &gateway),
        target: Target::AtMost(4096.0),
        note: format!(
            "plain {:.0} B, gateway {:.0} B, ratio {:.3}",
            Spread::of(plain.iter().copied()).median,
            Spread::of(gateway.iter().copied()).median,
            Spread::of_ratios(&plain, &gateway).median
        ),
        measured: [
            ("plain_bytes".to_owned(), plain),
            ("gateway_bytes".to_owned(), gateway),
        ]
        .into(),
    })
}

/// Bytes for each stream. Starts a new nginx each time, because a heap does not shrink.
fn measure(lab: &Lab, mock: &Mock, route: &Route) -> Result<f64> {
    let nginx = Nginx::start(lab, mock, &ROUTES)?;
    let quick = Request::chat(&route.path(), 3, Duration::ZERO);
    // The second word does not arrive before the measurement is over.
    let slow = Request::chat(&route.path(), 2, Duration::from_secs(600));
    let grown = runtime()?.block_on(async {
        let mut client = Client::connect(nginx.port()).await?;
        client.exchange(&quick).await?;
        let before = memory(nginx.worker())?;
        // Opens one stream after the other. All stay open.
        let mut streams = Vec::with_capacity(STREAMS);
        for _ in 0..STREAMS {
            let mut client = Client::connect(nginx.port()).await?;
            client.begin(&slow).await?;
            streams.push(client);
        }
        let after = memory(nginx.worker())?;
        drop(streams);
        Ok(after - before)
    });
    nginx.finish()?;
    Ok(grown? / STREAMS as f64)
}

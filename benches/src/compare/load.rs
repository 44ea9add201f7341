//! Measures routes under wrk's load, in turn.

use std::time::Duration;

use crate::error::{Error, Result, While};
use crate::lab::Lab;
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::process::time_on_core;
use crate::route::Route;
use crate::site::CLIENT_TOKEN;
use crate::stream::{Client, Request};
use crate::wrk;

/// A route of a running nginx.
pub struct Side<'a> {
    pub nginx: &'a Nginx,
    pub route: &'a Route,
}

impl Side<'_> {
    /// The URL for wrk.
    pub fn url(&self) -> String {
        let port = self.nginx.port();
        format!("http://127.0.0.1:{port}{}", self.route.path())
    }
}

/// The results of one side, in the order of the rounds.
#[derive(Debug, Default)]
pub struct Rounds {
    /// Requests per second.
    pub rate: Vec<f64>,
    /// Time of nginx's worker on its core, in microseconds per request.
    pub core: Vec<f64>,
    /// Of complete responses, in microseconds.
    pub p50: Vec<f64>,
    pub p99: Vec<f64>,
}

/// Measures the sides in turn (A B C A B C ...), each `rounds` times.
pub fn alternate(
    lab: &Lab,
    mock: &Mock,
    sides: &[Side<'_>],
    connections: usize,
) -> Result<Vec<Rounds>> {
    for side in sides {
        probe(side)?;
        // Warm-up: connections, caches and heaps.
        measure(lab, mock, side, connections, 1)?;
    }
    let mut rounds: Vec<Rounds> = sides.iter().map(|_| Rounds::default()).collect();
    for _ in 0..lab.rounds {
        for (side, rounds) in sides.iter().zip(&mut rounds) {
            let (tally, core) = measure(lab, mock, side, connections, lab.seconds)?;
            rounds.rate.push(tally.per_second());
            rounds.core.push(core);
            rounds.p50.push(tally.p50);
            rounds.p99.push(tally.p99);
        }
    }
    Ok(rounds)
}

/// Sends one request and checks the whole response; wrk checks only the status.
pub fn probe(side: &Side<'_>) -> Result<()> {
    let request = Request::chat(&side.route.path(), 3, Duration::ZERO);
    runtime()?.block_on(async {
        let mut client = Client::connect(side.nginx.port()).await?;
        client.exchange(&request).await.map(drop)
    })
}

/// A runtime in this thread, for [`Client`](crate::stream::Client).
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .while_doing("starting the client's runtime")
}

fn measure(
    lab: &Lab,
    mock: &Mock,
    side: &Side<'_>,
    connections: usize,
    seconds: u64,
) -> Result<(wrk::Tally, f64)> {
    mock.reset()?;
    let before = time_on_core(side.nginx.worker())?;
    let tally = wrk::run(lab, &side.url(), CLIENT_TOKEN, connections, seconds)?;
    side.nginx.await_idle()?;
    let spent = time_on_core(side.nginx.worker())?.saturating_sub(before);
    witness(mock, side.route, &tally)?;
    let core = spent.as_secs_f64() * 1e6 / f64::from(tally.requests);
    Ok((tally, core))
}

/// Checks that the mock has seen the requests with the expected keys, and never more at once than
/// slots.
fn witness(mock: &Mock, route: &Route, tally: &wrk::Tally) -> Result<()> {
    let seen = mock.seen()?;
    let (requests, keys, most) = (seen.requests(), seen.keys.len(), seen.most_at_once());
    let wrong = |why: String| {
        let path = route.path();
        Err(Error::Witness { path, why })
    };
    if requests < u64::from(tally.requests) {
        return wrong(format!("{requests} of {} requests", tally.requests));
    }
    let (wanted, slots) = match route.keys {
        Some(pool) => (pool.count.min(requests as usize), pool.slots as u64),
        None => (1, u64::MAX),
    };
    if keys != wanted {
        return wrong(format!("{keys} keys, not {wanted}"));
    }
    if most > slots {
        return wrong(format!("{most} requests at once with one of {slots} slots"));
    }
    Ok(())
}

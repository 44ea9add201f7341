//! What the lease adds to the time of the first token and of the last, at the speed of real models.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::latency::added;
use crate::error::Result;
use crate::lab::Lab;
use crate::load::{Side, runtime};
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::report::{Report, Target};
use crate::route::Route;
use crate::spread::quantile;
use crate::stream::{Client, Request, Times};

const STREAMS: usize = 512;
const WORDS: usize = 64;
const DELAY: Duration = Duration::from_millis(20);
/// The number of requests that each client sends in succession: 1,536 responses in a round.
const ANSWERS: usize = 3;

const ROUTES: [Route; 2] = [Route::PLAIN, Route::gateway("keys-512", STREAMS, 1)];

/// Percentiles of one side in each round, in microseconds.
#[derive(Default)]
struct Percentiles {
    first_p50: Vec<f64>,
    first_p99: Vec<f64>,
    whole_p99: Vec<f64>,
}

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let nginx = Nginx::start(lab, &mock, &ROUTES)?;
    let mut sides = ROUTES.each_ref().map(|route| {
        let side = Side {
            nginx: &nginx,
            route,
        };
        (side, Percentiles::default())
    });
    for _ in 0..lab.rounds.min(5) {
        for (side, percentiles) in &mut sides {
            percentiles.add(&measure(side)?);
        }
    }
    let [(_, plain), (_, gateway)] = &sides;
    let name = |what: &str| format!("{what}, {STREAMS} streams");
    report.add(&added(
        name("added p50 of the first token"),
        Target::None,
        &plain.first_p50,
        &gateway.first_p50,
    ))?;
    report.add(&added(
        name("added p99 of the first token"),
        Target::AtMost(350.0),
        &plain.first_p99,
        &gateway.first_p99,
    ))?;
    report.add(&added(
        name("added p99 of the whole"),
        Target::AtMost(200.0),
        &plain.whole_p99,
        &gateway.whole_p99,
    ))?;
    nginx.finish()
}

impl Percentiles {
    fn add(&mut self, times: &[Times]) {
        let first = sorted_micros(times.iter().map(|times| times.first));
        let whole = sorted_micros(times.iter().map(|times| times.whole));
        self.first_p50.push(quantile(&first, 0.5));
        self.first_p99.push(quantile(&first, 0.99));
        self.whole_p99.push(quantile(&whole, 0.99));
    }
}

fn sorted_micros(times: impl Iterator<Item = Duration>) -> Vec<f64> {
    let mut micros: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e6).collect();
    micros.sort_by(f64::total_cmp);
    micros
}

/// Runs all clients at the same time. Their starts are spread evenly over the duration of a
/// response.
fn measure(side: &Side<'_>) -> Result<Vec<Times>> {
    let request = Rc::new(Request::chat(&side.route.path(), WORDS, DELAY));
    let port = side.nginx.port();
    let cycle = DELAY * WORDS as u32;
    let local = tokio::task::LocalSet::new();
    let all = async {
        let mut clients = JoinSet::new();
        let start = Instant::now();
        for number in 0..STREAMS {
            let request = Rc::clone(&request);
            let begin = start + cycle * number as u32 / STREAMS as u32;
            clients.spawn_local(async move {
                tokio::time::sleep_until(begin.into()).await;
                let mut client = Client::connect(port).await?;
                let mut times = Vec::with_capacity(ANSWERS);
                for _ in 0..ANSWERS {
                    times.push(client.exchange(&request).await?);
                }
                Ok(times)
            });
        }
        let parts: Vec<Result<Vec<Times>>> = clients.join_all().await;
        let parts: Result<Vec<Vec<Times>>> = parts.into_iter().collect();
        parts.map(|parts| parts.concat())
    };
    local.block_on(&runtime()?, all)
}

//! The mock compared with a typical one in OpenResty's Lua. The server and the client have a core
//! each.

use std::time::Duration;

use crate::error::Result;
use crate::lab::Lab;
use crate::load::runtime;
use crate::lua_mock;
use crate::mock::Mock;
use crate::process::time_on_core;
use crate::report::{Finding, Report, Target, Unit};
use crate::site::CLIENT_TOKEN;
use crate::spread::Spread;
use crate::stream::{Client, Request};
use crate::tool::bench;
use crate::wrk;

const CONNECTIONS: usize = 64;
const STREAMS: usize = 2_000;
const DELAY_MS: f64 = 50.0;
const HELD: usize = 8_000;
const HELD_FOR: Duration = Duration::from_secs(60);

/// A mock that is measured.
struct Side {
    /// Its base URL.
    url: String,
    pid: u32,
}

impl Side {
    fn ours(mock: &Mock) -> Self {
        let url = format!("http://127.0.0.1:{}/v1", mock.port());
        let pid = mock.pid();
        Self { url, pid }
    }

    fn chat(&self) -> String {
        format!("{}/chat/completions", self.url)
    }
}

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let nginx = lua_mock::start(lab)?;
    let lua = |location| Side {
        url: format!("http://127.0.0.1:{}/{location}/v1", nginx.port()),
        pid: nginx.worker(),
    };
    let (at_once, paced) = (Mock::measured(lab, "0")?, Mock::measured(lab, "50ms")?);
    throughput(lab, report, &[lua("at-once"), Side::ours(&at_once)])?;
    pace(lab, report, &[lua("paced"), Side::ours(&paced)])?;
    tool(lab, report, &paced)?;
    hold(report, &at_once)?;
    nginx.finish()
}

/// The results of all rounds: the Lua mock, then ours.
type Both = [Vec<f64>; 2];

fn middle(values: &[f64]) -> f64 {
    Spread::of(values.iter().copied()).median
}

fn throughput(lab: &Lab, report: &mut Report, sides: &[Side; 2]) -> Result<()> {
    let (mut rates, mut core) = (Both::default(), Both::default());
    for side in sides {
        wrk::run(lab, &side.chat(), CLIENT_TOKEN, CONNECTIONS, 1)?;
    }
    for _ in 0..lab.rounds {
        for (index, side) in sides.iter().enumerate() {
            let before = time_on_core(side.pid)?;
            let tally = wrk::run(lab, &side.chat(), CLIENT_TOKEN, CONNECTIONS, lab.seconds)?;
            let spent = time_on_core(side.pid)?.saturating_sub(before);
            rates[index].push(tally.per_second());
            core[index].push(spent.as_secs_f64() * 1e6 / f64::from(tally.requests));
        }
    }
    let note = format!(
        "Lua {:.0}/s, ours {:.0}/s; {:.1} and {:.1} µs of the core a stream",
        middle(&rates[0]),
        middle(&rates[1]),
        middle(&core[0]),
        middle(&core[1]),
    );
    let name = "mock ÷ OpenResty's Lua, delay 0".to_owned();
    let mut finding = ratio(name, Target::AtLeast(2.5), rates, note);
    let [lua, ours] = core;
    finding.measured.insert("lua_core_us".to_owned(), lua);
    finding.measured.insert("ours_core_us".to_owned(), ours);
    report.add(&finding)
}

fn ratio(name: String, target: Target, rates: Both, note: String) -> Finding {
    let value = Spread::of_ratios(&rates[0], &rates[1]);
    let [lua, ours] = rates;
    let measured = [
        ("lua_per_second".to_owned(), lua),
        ("ours_per_second".to_owned(), ours),
    ];
    Finding {
        name,
        unit: Unit::Ratio,
        value,
        target,
        measured: measured.into(),
        note,
    }
}

/// Measures how exactly words are paced, and how many streams per second that allows.
fn pace(lab: &Lab, report: &mut Report, sides: &[Side; 2]) -> Result<()> {
    let streams = STREAMS.to_string();
    let (mut rates, mut errors) = (Both::default(), Both::default());
    for _ in 0..lab.rounds.min(3) {
        for (index, side) in sides.iter().enumerate() {
            let seconds = lab.seconds.max(3);
            let tally = wrk::run(lab, &side.chat(), CLIENT_TOKEN, STREAMS, seconds)?;
            rates[index].push(tally.per_second());
            let reported = bench(
                lab,
                std::slice::from_ref(&side.url),
                &["-c", &streams, "-d", "3s", "--warmup", "1s"],
            )?;
            let between = reported
                .sides
                .iter()
                .map(|s| s.latency("between_tokens", "p50"));
            errors[index].extend(between.map(|between| (between - DELAY_MS).abs()));
        }
    }
    let note = format!(
        "Lua {:.0}/s, ours {:.0}/s",
        middle(&rates[0]),
        middle(&rates[1])
    );
    let name = format!("mock ÷ OpenResty's Lua, 50 ms, {STREAMS}");
    report.add(&ratio(name, Target::AtLeast(1.0), rates, note))?;
    let note = format!("Lua {:.2} ms, between two words", middle(&errors[0]));
    let [lua, ours] = errors;
    report.add(&Finding {
        name: format!("median error of the pace, {STREAMS} streams"),
        unit: Unit::Milliseconds,
        value: Spread::of(ours.iter().copied()),
        target: Target::AtMost(5.0),
        measured: [("lua_ms".to_owned(), lua), ("ours_ms".to_owned(), ours)].into(),
        note,
    })
}

/// Checks the measuring tool against a known value: words that are sent every 20 ms.
fn tool(lab: &Lab, report: &mut Report, mock: &Mock) -> Result<()> {
    let known = ["-H", "X-Mock-Words: 64", "-H", "X-Mock-Delay: 20ms"];
    let load = ["--rate", "50", "--arrivals", "constant", "-d", "4s"];
    let reported = bench(lab, &[Side::ours(mock).url], &[&known[..], &load].concat())?;
    for percentile in ["p50", "p99"] {
        let reported = reported.sides.iter();
        let reported: Vec<f64> = reported
            .map(|s| s.latency("between_tokens", percentile))
            .collect();
        report.add(&Finding {
            name: format!("bench: error of the {percentile} of 20 ms"),
            unit: Unit::Milliseconds,
            value: Spread::of(reported.iter().map(|ms| (ms - 20.0).abs())),
            target: Target::AtMost(1.0),
            note: String::new(),
            measured: [("told_ms".to_owned(), reported)].into(),
        })?;
    }
    Ok(())
}

/// Keeps streams open: each sends its first word at once, and the last one after a minute.
fn hold(report: &mut Report, mock: &Mock) -> Result<()> {
    let request = Request::chat("/v1/chat/completions", 2, HELD_FOR);
    let lost = runtime()?.block_on(async {
        let mut streams = Vec::with_capacity(HELD);
        for _ in 0..HELD {
            let mut client = Client::connect(mock.port()).await?;
            let begun = client.begin(&request).await?;
            streams.push((client, begun));
        }
        let mut lost = 0;
        for (mut client, begun) in streams {
            lost += u32::from(client.end(begun, &request).await.is_err());
        }
        Ok(lost)
    })?;
    report.add(&Finding {
        name: format!("lost of {HELD} streams held for {HELD_FOR:?}"),
        unit: Unit::Streams,
        value: Spread::of([f64::from(lost)]),
        target: Target::AtMost(0.0),
        note: String::new(),
        measured: [("lost".to_owned(), vec![f64::from(lost)])].into(),
    })
}

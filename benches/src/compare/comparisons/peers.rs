//! Gateways compared with the same mock and the same load. The result is a table in Markdown.

use std::fmt::Write as _;

use super::redlock::redlock;
use super::throughput::CONNECTIONS;
use crate::error::Result;
use crate::lab::{Lab, load_average, machine};
use crate::litellm;
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::process::time_on_core;
use crate::redis::Redis;
use crate::report::{Finding, Report, Target, Unit};
use crate::route::{Group, Lease, Route};
use crate::site::CLIENT_TOKEN;
use crate::spread::Spread;
use crate::tool::try_bench;
use crate::wrk;

/// The slowest gateway handles only dozens of requests per second.
const SECONDS: u64 = 5;
/// Enough slots for all streams.
const SLOTS: usize = 1024;
const ROUTES: [Route; 3] = [
    Route::PLAIN,
    Route::gateway("keys", SLOTS, 1),
    redlock("redlock", SLOTS),
];
const DICT: Route = Route::gateway("dict", SLOTS, 1).leased(Lease::LuaDict);
const LUA: Route = Route::gateway("lua", SLOTS, 1).leased(Lease::Lua);

/// Ten requests per second are few for each gateway, so that the path is measured and not a queue.
const FEW: [&str; 10] = [
    "--rate",
    "10",
    "--arrivals",
    "constant",
    "-H",
    "X-Mock-Words: 16",
    "-H",
    "X-Mock-Delay: 20ms",
    "-d",
    "5s",
];
/// 512 streams, which correspond to 400 requests per second.
const MANY: [&str; 10] = [
    "-c",
    "512",
    "--timeout",
    "120s",
    "-H",
    "X-Mock-Words: 64",
    "-H",
    "X-Mock-Delay: 20ms",
    "-d",
    "5s",
];

/// A gateway with its results.
struct Peer {
    name: &'static str,
    /// Its base URL.
    url: String,
    pid: u32,
    rate: Vec<f64>,
    /// Time of its process on its core, in microseconds per request.
    core: Vec<f64>,
    first_p50: Vec<f64>,
    first_p99: Vec<f64>,
    streams: Vec<f64>,
    between_p99: Vec<f64>,
    /// Streams that failed in all rounds.
    failed: u64,
}

impl Peer {
    fn new(name: &'static str, (pid, port): (u32, u16), path: &str) -> Self {
        Self {
            name,
            url: format!("http://127.0.0.1:{port}{path}/v1"),
            pid,
            rate: Vec::new(),
            core: Vec::new(),
            first_p50: Vec::new(),
            first_p99: Vec::new(),
            streams: Vec::new(),
            between_p99: Vec::new(),
            failed: 0,
        }
    }

    fn measure(&mut self, lab: &Lab) -> Result<()> {
        let chat = format!("{}/chat/completions", self.url);
        let before = time_on_core(self.pid)?;
        let tally = wrk::run(
            lab,
            &chat,
            CLIENT_TOKEN,
            CONNECTIONS,
            lab.seconds.max(SECONDS),
        )?;
        let spent = time_on_core(self.pid)?.saturating_sub(before);
        self.rate.push(tally.per_second());
        let core = spent.as_secs_f64() * 1e6 / f64::from(tally.requests);
        self.core.push(core);
        let url = std::slice::from_ref(&self.url);
        for side in try_bench(lab, url, &FEW)?.sides {
            self.failed += side.failed;
            self.first_p50.push(side.latency("first_token", "p50"));
            self.first_p99.push(side.latency("first_token", "p99"));
        }
        for side in try_bench(lab, url, &MANY)?.sides {
            self.failed += side.failed;
            self.streams.push(side.streams_per_second);
            self.between_p99.push(side.latency("between_tokens", "p99"));
        }
        Ok(())
    }
}

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let servers = Redis::group(lab, 3)?;
    let group = Group {
        name: ROUTES[2].name,
        ports: servers.iter().map(Redis::port).collect(),
        more: "",
    };
    let groups = std::slice::from_ref(&group);
    let nginx = Nginx::with_groups(lab, &mock, &ROUTES, groups)?;
    let dict = Nginx::start(lab, &mock, &[DICT])?;
    let lua = Nginx::with_groups(lab, &mock, &[LUA], groups)?;
    let litellm = litellm::start(lab, &mock)?;
    let at = |nginx: &Nginx| (nginx.worker(), nginx.port());
    let mut peers = [
        Peer::new("plain nginx, no lease", at(&nginx), "/plain"),
        Peer::new("nginx-openai", at(&nginx), "/keys"),
        Peer::new("nginx-openai, Redlock of 3", at(&nginx), "/redlock"),
        Peer::new("OpenResty Lua, shared dictionary", at(&dict), "/dict"),
        Peer::new("OpenResty Lua, Redlock of 3", at(&lua), "/lua"),
        Peer::new(
            "LiteLLM, no lease",
            (litellm.process.pid(), litellm.port),
            "",
        ),
    ];
    for peer in &peers {
        // Warm-up: connections, caches and heaps.
        try_bench(
            lab,
            std::slice::from_ref(&peer.url),
            &["-c", "8", "-d", "2s"],
        )?;
    }
    let rounds = lab.rounds.min(3);
    for _ in 0..rounds {
        for peer in &mut peers {
            peer.measure(lab)?;
        }
    }
    for finding in findings(&peers) {
        report.add(&finding)?;
    }
    print(lab, rounds, &peers);
    for nginx in [nginx, dict, lua] {
        nginx.finish()?;
    }
    Ok(())
}

/// The ratios of requests per second between ours and other gateways with leases, and LiteLLM.
fn findings(peers: &[Peer; 6]) -> Vec<Finding> {
    let [_, shm, redlock, dict, lua, litellm] = peers;
    let pairs = [(shm, dict), (redlock, lua), (shm, litellm)];
    let finding = |(ours, other): (&Peer, &Peer)| Finding {
        name: format!("ours ÷ {}", other.name),
        unit: Unit::Ratio,
        value: Spread::of_ratios(&other.rate, &ours.rate),
        target: Target::None,
        measured: [
            ("ours_per_second".to_owned(), ours.rate.clone()),
            ("other_per_second".to_owned(), other.rate.clone()),
            ("ours_core_us".to_owned(), ours.core.clone()),
            ("other_core_us".to_owned(), other.core.clone()),
        ]
        .into(),
        note: String::new(),
    };
    pairs.map(finding).into()
}

#[expect(clippy::print_stdout, reason = "the program's output")]
fn print(lab: &Lab, rounds: usize, peers: &[Peer; 6]) {
    let mut table = String::from(
        "| | requests/s | ÷ plain | core µs | first token p50 | p99 | 512 streams: streams/s | p99 between words | failed |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let plain = &peers[0];
    let middle = |values: &[f64]| Spread::of(values.iter().copied()).median;
    for peer in peers {
        let Spread { median, min, max } = Spread::of(peer.rate.iter().copied());
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {} | {median:.0} ({min:.0} – {max:.0}) | {:.3} | {:.1} | {:.2} ms | {:.2} ms | {:.0} | {:.1} ms | {} |",
            peer.name,
            Spread::of_ratios(&plain.rate, &peer.rate).median,
            middle(&peer.core),
            middle(&peer.first_p50),
            middle(&peer.first_p99),
            middle(&peer.streams),
            middle(&peer.between_p99),
            peer.failed,
        );
    }
    println!(
        "\n{table}\n{}; gateway on one core, mock and clients on another; LiteLLM {}; medians of \
         {rounds} rounds in turn (lowest – highest); load average {:.2} at the end.",
        machine(&lab.nginx),
        litellm::version(lab),
        load_average()
    );
}

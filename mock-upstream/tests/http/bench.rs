//! The load generator, against servers of which the truth is known.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use mock_upstream::Scenario;
use mock_upstream::bench::{self, Failure, Measure, Options, Summary};

use crate::wire::{quick, start};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn measure(flags: &[&str]) -> Summary {
    let cli = Cli::try_parse_from(["bench"].iter().chain(flags)).expect("flags");
    bench::run(&cli.options, &mut std::io::sink()).expect("a measurement")
}

fn millis(summary: &Summary, measure: Measure, percentile: f64) -> f64 {
    let record = &summary.sides[0].record;
    record.percentile(measure, percentile).as_secs_f64() * 1e3
}

#[test]
fn tokens_every_20_ms_are_measured_as_such() {
    let mock = start(Scenario::new().delay(Duration::from_millis(20)));
    let url = mock.url();
    let summary = measure(&[&url, "-c", "2", "-d", "1s", "-H", "X-Mock-Words: 20", "-q"]);
    let record = &summary.sides[0].record;
    assert!(record.completed >= 4 && record.failed() == 0);
    assert_eq!(record.chunks, record.completed * 23);
    assert_eq!(record.completed, mock.stats().totals.requests);
    let tokens = record.histogram(Measure::BetweenTokens);
    assert_eq!(tokens.len(), record.completed * 19);
    // A busy machine makes it longer, but no stream shorter than 19 pauses, and of those before
    // them a token may be late.
    assert!(millis(&summary, Measure::EndToEnd, 0.0) >= 19.0 * 20.0);
    let last = millis(&summary, Measure::EndToEnd, 100.0);
    for measure in [Measure::BetweenTokens, Measure::PerToken] {
        let typical = millis(&summary, measure, 50.0);
        assert!((10.0..last / 2.0).contains(&typical), "{typical} ms");
    }
}

/// Answers at once, but not from 0.5 s to 1 s after its first request.
fn freezing_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address");
    let (from, to) = (Duration::from_millis(500), Duration::from_secs(1));
    let begun = Arc::new(OnceLock::new());
    let answer = move |tcp: TcpStream, begun: &OnceLock<Instant>| -> std::io::Result<()> {
        tcp.set_nodelay(true)?;
        let mut reader = BufReader::new(tcp.try_clone()?);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                let line = line.trim_end();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().map_err(std::io::Error::other)?;
                } else if line.is_empty() {
                    break;
                }
            }
            reader.read_exact(&mut vec![0; length])?;
            let now = begun.get_or_init(Instant::now).elapsed();
            if (from..to).contains(&now) {
                thread::sleep(to - now);
            }
            (&tcp).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")?;
        }
    };
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let begun = Arc::clone(&begun);
            thread::spawn(move || answer(tcp?, &begun));
        }
    });
    address
}

/// A quarter of the time nothing is answered. Whoever waits for an answer before the next request
/// sees that once; users who come when they come see it one time in four.
#[test]
fn an_open_loop_sees_what_a_closed_one_omits() {
    let url = format!("http://{}", freezing_server());
    let open = measure(&[
        &url,
        "-r",
        "100",
        "--arrivals",
        "constant",
        "-d",
        "2s",
        "-q",
    ]);
    assert_eq!(open.sides[0].record.failed(), 0);
    assert!(millis(&open, Measure::FirstByte, 90.0) >= 150.0);
    assert!(millis(&open, Measure::FirstByte, 100.0) >= 400.0);

    let url = format!("http://{}", freezing_server());
    let closed = measure(&[&url, "-c", "1", "-d", "2s", "-q"]);
    let ninth = |summary| millis(summary, Measure::FirstByte, 90.0);
    assert!(ninth(&closed) < ninth(&open), "{} ms", ninth(&closed));
    assert!(millis(&closed, Measure::FirstByte, 100.0) >= 400.0);
}

#[test]
fn a_saturated_client_is_called_so() {
    let mock = quick();
    // So short that the connections of all its requests are within the limit on open files.
    let summary = measure(&[&mock.url(), "-r", "1000000", "-d", "4ms", "-q"]);
    let warning = summary.sides[0].saturated().expect("a warning");
    assert!(warning.contains("the client was saturated"));
    assert!(
        summary
            .to_string()
            .contains("WARNING: the client was saturated")
    );
    assert!(summary.to_json()["sides"][0]["client_saturated"].is_string());

    let calm = measure(&[
        &mock.url(),
        "-r",
        "20",
        "-d",
        "500ms",
        "-q",
        "--arrivals",
        "constant",
    ]);
    let record = &calm.sides[0].record;
    // The tenth would be due when the time is over.
    assert_eq!(record.intended, 10);
    assert!((1..=9).contains(&record.completed));
}

#[test]
fn failures_are_distinguished_and_kept_out_of_the_latencies() {
    let mock = quick();
    let url = mock.url();
    for (header, failure) in [
        ("X-Mock-Status: 503", Failure::Status(503)),
        ("X-Mock-Reset-After: 0", Failure::Connect),
        ("X-Mock-Reset-After: 2", Failure::Truncated),
        ("X-Mock-No-Done: true", Failure::Truncated),
        ("X-Mock-Malformed-After: 1", Failure::Malformed),
        ("X-Mock-Error-After: 2", Failure::InBandError),
        ("X-Mock-Stall-After: 2", Failure::Timeout),
    ] {
        let patience = match failure {
            Failure::Timeout => "40ms",
            _ => "20s",
        };
        let load = ["-c", "1", "-d", "50ms", "--timeout", patience];
        let flags = [&[&url[..], "-q", "-H", header], &load[..]].concat();
        let summary = measure(&flags);
        let record = &summary.sides[0].record;
        let classes: Vec<Failure> = record.failures.keys().copied().collect();
        assert_eq!(classes, [failure], "{header}");
        assert_eq!(record.completed, 0);
        assert_eq!(record.histogram(Measure::EndToEnd).len(), 0);
    }
    let closed = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port");
    let summary = measure(&[&format!("http://{closed}"), "-c", "1", "-d", "30ms", "-q"]);
    assert!(
        summary.sides[0]
            .record
            .failures
            .contains_key(&Failure::Connect)
    );
}

#[test]
fn what_the_second_of_two_adds_is_reported_in_every_form() {
    let first = quick();
    let mut slower = Scenario::new().delay(Duration::ZERO);
    slower.set("first-token", "50ms").expect("a setting");
    let second = start(slower);
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (json, html, hdr) = (file("a.json"), file("a.html"), file("a.hdr"));
    let (a, b) = (first.url(), second.url());
    let flags = ["--compare", &a, &b, "-c", "2", "-d", "400ms", "-q"];
    let files = ["--json", &json, "--html", &html, "--hdr", &hdr];
    let summary = measure(&[&flags[..], &files[..]].concat());
    let requests = |mock: &mock_upstream::MockServer| mock.stats().totals.requests;
    for (side, mock) in summary.sides.iter().zip([&first, &second]) {
        assert_eq!(side.record.completed, requests(mock));
    }

    let read = |path: &str| std::fs::read_to_string(path).expect("a file");
    assert_eq!(read(&json), format!("{:#}\n", summary.to_json()));
    let reported: serde_json::Value = serde_json::from_str(&read(&json)).expect("JSON");
    let added = reported["added_by_second"]["first_token"]["p50_ms"]
        .as_f64()
        .expect("a time");
    // It is 50 ms slower, less what a busy machine adds to the first.
    assert!(added > 10.0, "{added} ms");
    assert!(summary.to_string().contains(&format!("{b} adds to {a}")));

    let page = read(&html);
    assert!(page.contains(&a) && page.contains(&b) && page.contains("<polyline"));
    assert!(!page.contains("http-equiv") && !page.contains("<script"));

    let log = read(&hdr);
    let lines = log.lines().filter(|line| line.starts_with("Tag="));
    assert_eq!(lines.count(), 2 * Measure::ALL.len());
    assert!(log.contains("Tag=end_to_end_2,"));
}

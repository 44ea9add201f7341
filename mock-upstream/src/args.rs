//! Flags and environment of the program.

use std::error::Error;
use std::fmt::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::FalseyValueParser;
use mock_upstream::{
    DenyToken, Fault, Latency, OnReload, Recorder, Replay, Scenario, ScenarioSource, Server, Tls,
    bench, parse_duration,
};

/// A mock of the OpenAI API, for tests and load tests of gateways.
///
/// The answer to every request to /v1/chat/completions is the same text, as a stream with one chunk
/// for each word. If the body is a JSON object without "stream":true, it is one response instead,
/// unless --always-stream is given. `mock-upstream bench` measures streaming endpoints.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_long_help = after_help())]
pub(crate) struct Program {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) serve: Args,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Measures a streaming endpoint, or two alternately
    ///
    /// Latencies are measured from the moment at which a request should have been sent, so that
    /// they include the delay that a slow server causes for later requests. Failures are counted by
    /// class and not included in the latencies.
    #[command(after_long_help = BENCH_HELP)]
    Bench(Box<bench::Options>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address and port to listen on; port 0 selects a free port, which is printed
    #[arg(
        long,
        env = "MOCK_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080"
    )]
    listen: SocketAddr,

    /// Text of every answer; each word is a chunk [default: powered by openai]
    #[arg(long, env = "MOCK_TEXT")]
    text: Option<String>,

    /// Time between the words of a stream: 50 (ms), 250us, 50ms, 1s; 0: as fast as the client
    /// reads. Or a distribution: normal(50ms,10ms), lognormal(50ms,120ms) (p50, p95),
    /// 20ms:60ms:200ms (p50:p95:p99) [default: 50ms]
    #[arg(long, env = "MOCK_DELAY", value_name = "TIME")]
    delay: Option<Latency>,

    /// Time from the arrival of a request to the first word of its answer: a time or a distribution
    #[arg(long, env = "MOCK_FIRST_TOKEN", value_name = "TIME")]
    first_token: Option<Latency>,

    /// Streams even if the body is a JSON object without "stream":true
    #[arg(long, env = "MOCK_ALWAYS_STREAM", value_parser = FalseyValueParser::new())]
    always_stream: bool,

    /// Scenario file in TOML, read again when it changes. Flags take precedence over it
    #[arg(long, env = "MOCK_SCENARIO", value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// A setting of a scenario file: --set words=100 --set strict=true. Repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,

    /// A fault, and conditions for it: --fault 'status=500 times=2'. Repeatable
    #[arg(long, value_name = "SETTINGS")]
    fault: Vec<String>,

    /// Settings of one API key: --key 'token=sk-1 rpm=60 tpm=1000'. Repeatable
    #[arg(long, value_name = "SETTINGS")]
    key: Vec<String>,

    /// Answers requests from a conversation file, if it contains a matching exchange
    #[arg(long, env = "MOCK_REPLAY", value_name = "FILE")]
    replay: Option<PathBuf>,

    /// Forwards every request to --upstream, and appends it and its response to this file, for
    /// --replay. Keys are not written
    #[arg(
        long,
        env = "MOCK_RECORD",
        value_name = "FILE",
        conflicts_with = "replay",
        requires = "upstream"
    )]
    record: Option<PathBuf>,

    /// The API to which --record forwards requests, such as https://api.openai.com
    #[arg(long, env = "MOCK_UPSTREAM", value_name = "URL", requires = "record")]
    upstream: Option<String>,

    /// Certificate chain in PEM; with it, the mock serves HTTPS
    #[arg(long, env = "MOCK_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM
    #[arg(long, env = "MOCK_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Token that must not be in any request header, such as a client's token of the gateway under
    /// test. A request that contains it gets 400 and is counted as "forbidden_tokens". For several
    /// tokens, repeat the flag, or separate them by commas
    #[arg(
        long,
        env = "MOCK_DENY_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        value_delimiter = ','
    )]
    deny_token: Vec<DenyToken>,

    /// Threads, each with its own event loop and listening socket [default: one per core]
    #[arg(long, env = "MOCK_THREADS", value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,

    /// Time for open responses to end after SIGTERM or SIGINT
    #[arg(long, env = "MOCK_GRACE", value_name = "TIME", default_value = "10s",
          value_parser = parse_duration)]
    grace: Duration,
}

const PATHS: &str = "\
Paths:
  POST /v1/chat/completions   the text, as a stream or as one response
  POST /v1/completions, /v1/responses     the same, in the format of these endpoints
  POST /v1/embeddings, /v1/audio/transcriptions, /v1/images/generations
  GET  /v1/models, /v1/models/ID
  any  /v1/...                a description of the request: method, path, body bytes, content type
  GET  /health                {\"status\":\"ok\"}
  GET  /metrics               Prometheus metrics
  GET  /__mock/stats          per key (hash of Authorization): requests, in_flight,
                              max_in_flight, aborted; totals; forbidden_tokens
  GET  /__mock/ledger         per key: admitted, refused, prompt_tokens, completion_tokens
  GET  /__mock/requests       the last requests and their results
  POST /__mock/reset          resets all counts
  GET  /__mock/scenario       the scenario; PUT replaces it, PATCH changes settings (a JSON object)
  GET  /__mock/faults         faults and their counts; POST adds, DELETE removes those added
  POST /__mock/clock          {\"advance\":\"60s\"} advances the clock of the limits
";

const WAYS: &str = "
Four ways to set a fault. In each of these examples, two requests fail and further ones succeed:
  flag         --fault 'status=500 times=2'
  file         [[fault]]
               status = 500
               times = 2
  admin call   curl -d '{\"status\":500,\"times\":2}' http://127.0.0.1:8080/__mock/faults
  header       X-Mock-Status: 500
               X-Mock-Times: 2
               X-Mock-Scope: test-7      (counted per value of this header)
";

const EXAMPLES: &str = "
Examples:
  mock-upstream
      curl -N http://127.0.0.1:8080/v1/chat/completions -d '{\"stream\":true}'
  mock-upstream --delay 0 --threads 1
      as fast as possible on one core
  mock-upstream --text \"$(cat answer.txt)\" --delay 20ms --listen 0.0.0.0:9000
      a realistic answer at 50 words per second, reachable from other machines
  mock-upstream --first-token 300ms:900ms:2s --delay 'lognormal(20ms,60ms)' --set words=200
      a slow model
  mock-upstream --set rpm=100 --set tpm=1000 --key 'token=sk-revoked state=revoked'
      limits per key, with their headers, and a revoked key
  mock-upstream --fault 'reset-after=3 share=1%' --fault 'error=overloaded every=50'
      random resets, and errors of an overloaded server";

const BENCH_HELP: &str = "\
Measures, each at p50, p90, p95, p99, p99.9 and max:
  first_byte         from the intended send to the response headers
  first_token        from the intended send to the first part of the answer
  between_tokens     between two parts, of all streams
  longest_stall      the longest time between two parts of a stream
  per_output_token   from the first to the last part, divided by the number of parts after the first
  end_to_end         from the intended send to the end of the answer
  send_lag           from the intended to the actual send: the delay of `bench` itself

Failures: connect, status_NNN, timeout, truncated (the stream ended early), malformed (an event is
not valid JSON), in_band_error. The report contains a warning if `bench` itself was saturated.

Examples:
  mock-upstream bench http://127.0.0.1:8080 -c 512 -H 'X-Mock-Words: 64' -H 'X-Mock-Delay: 20ms'
      512 concurrent streams
  mock-upstream bench http://127.0.0.1:8004/v1 --rate 200 --arrivals poisson -d 60s --html out.html
      200 requests per second, at random intervals as of independent users
  OPENAI_API_KEY=dev-token mock-upstream bench --compare http://127.0.0.1:8080 http://127.0.0.1:8004
      what the gateway adds to the mock behind it
  OPENAI_API_KEY=... mock-upstream bench https://api.openai.com/v1 -c 4 -d 30s
      the real API, which costs money";

/// Lists all settings, from the tables that also parse them.
fn after_help() -> String {
    let mut text = PATHS.to_owned();
    let mut list = |title: &str, settings: &[(&str, &str)]| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n{title}");
        for (name, meaning) in settings {
            let _ = writeln!(text, "  {name:<16} {}", meaning.trim());
        }
    };
    list(
        "Settings of an answer (--set, --fault, X-Mock-Name headers, scenario file):",
        Fault::SETTINGS,
    );
    list(
        "Conditions of a fault (--fault, [[fault]], headers):",
        mock_upstream::Rule::SETTINGS,
    );
    list(
        "Settings of the mock (--set, scenario file):",
        Scenario::SETTINGS,
    );
    text + WAYS + EXAMPLES
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

impl Args {
    fn source(&self) -> ScenarioSource {
        let named = [
            ("text", self.text.clone()),
            ("delay", self.delay.map(|time| time.to_string())),
            ("first-token", self.first_token.map(|time| time.to_string())),
            (
                "always-stream",
                self.always_stream.then(|| true.to_string()),
            ),
        ];
        let named = named.into_iter();
        let named = named.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        ScenarioSource {
            file: self.scenario.clone(),
            settings: named.chain(self.set.iter().cloned()).collect(),
            faults: self.fault.clone(),
            keys: self.key.clone(),
            deny_tokens: self.deny_token.clone(),
        }
    }

    pub(crate) fn into_server(self, on_reload: OnReload) -> Result<Server, Box<dyn Error>> {
        let source = self.source();
        let mut server = Server::new(source.load()?)
            .address(self.listen)
            .grace(self.grace);
        if source.file.is_some() {
            server = server.watch(source, on_reload);
        }
        if let Some(path) = self.replay {
            server = server.replay(Replay::from_file(path)?);
        }
        if let (Some(path), Some(upstream)) = (self.record, self.upstream) {
            server = server.record(Recorder::new(&upstream, path)?);
        }
        if let Some(threads) = self.threads {
            server = server.threads(threads);
        }
        if let (Some(cert), Some(key)) = (self.tls_cert, self.tls_key) {
            server = server.tls(Tls::from_pem_files(cert, key)?);
        }
        Ok(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_are_consistent() {
        Program::command().debug_assert();
    }

    #[test]
    fn help_names_every_setting_path_and_variable() {
        let help = Program::command().render_long_help().to_string();
        let words = [
            "X-Mock-Scope",
            "MOCK_LISTEN",
            "MOCK_DENY_TOKEN",
            "/__mock/stats",
        ];
        let settings = Fault::SETTINGS.iter().map(|(name, _)| *name);
        for word in words.into_iter().chain(settings) {
            assert!(help.contains(word), "{word}");
        }
    }

    #[test]
    fn a_certificate_wants_its_key() {
        let error = Program::try_parse_from(["mock-upstream", "--tls-cert", "a.pem"]);
        assert!(error.expect_err("no key").to_string().contains("--tls-key"));
    }

    #[test]
    fn tokens_are_separated_by_commas_and_not_shown() {
        let args = Program::try_parse_from(["mock-upstream", "--deny-token", "one,two"]);
        let args = args.expect("flags");
        assert_eq!(args.serve.deny_token.len(), 2);
        assert!(!format!("{args:?}").contains("two"));
    }

    #[test]
    fn every_flag_goes_into_the_scenario() {
        let args = [
            "mock-upstream",
            "--delay",
            "20ms:30ms:40ms",
            "--set",
            "words=7",
        ];
        let more = [
            "--fault",
            "status=500 times=2",
            "--key",
            "token=sk-1 rpm=1",
            "--text",
            "x",
        ];
        let args = Program::try_parse_from(args.into_iter().chain(more)).expect("flags");
        let loaded = args.serve.source().load().expect("a scenario");
        let mut expected = Scenario::new().text("x");
        for (name, value) in [("text", "x"), ("delay", "20ms:30ms:40ms"), ("words", "7")] {
            expected.set(name, value).expect(name);
        }
        expected.key("token=sk-1 rpm=1").expect("a key");
        let rule = mock_upstream::Rule::parse("status=500 times=2").expect("a rule");
        assert_eq!(loaded, expected.rule(rule));
    }
}

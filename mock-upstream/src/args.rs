//! Flags and environment of the program.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use mock_upstream::{DenyToken, Scenario, Server, Tls, TlsError, parse_duration};

/// A mock of the OpenAI API, made for load testing what stands in front of it.
///
/// Whatever is posted to /v1/chat/completions is answered by the same text, a word a chunk.
/// A JSON object without "stream":true gets the whole text at once.
#[derive(Debug, Parser)]
#[command(version, after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Address and port to listen on; port 0 takes a free one, shown at start
    #[arg(
        long,
        env = "MOCK_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080"
    )]
    listen: SocketAddr,

    /// Text of every answer; each word becomes a chunk
    #[arg(long, env = "MOCK_TEXT", default_value = Scenario::DEFAULT_TEXT)]
    text: String,

    /// Time between the words of a stream: 50 (ms), 250us, 50ms, 1s. 0 streams as fast as it goes
    #[arg(long, env = "MOCK_DELAY", value_name = "TIME", default_value = "50ms",
          value_parser = parse_duration)]
    delay: Duration,

    /// Certificate chain in PEM form: serves HTTPS
    #[arg(long, env = "MOCK_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM form
    #[arg(long, env = "MOCK_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Token that must never arrive in any request header, such as a client's token of the
    /// gateway under test. A request that carries it is answered 400 and counted as
    /// "forbidden_tokens". Repeat the flag, or separate by commas, for several
    #[arg(
        long,
        env = "MOCK_DENY_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        value_delimiter = ','
    )]
    deny_token: Vec<DenyToken>,

    /// Serving threads, each with its own event loop and listening socket [default: one a core]
    #[arg(long, env = "MOCK_THREADS", value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,

    /// Longest time that open answers may take to end after SIGTERM or SIGINT
    #[arg(long, env = "MOCK_GRACE", value_name = "TIME", default_value = "10s",
          value_parser = parse_duration)]
    grace: Duration,
}

const AFTER_HELP: &str = "\
Paths:
  POST /v1/chat/completions   the text, streamed or whole
  GET  /v1/models             a short list
  any  /v1/...                tells what arrived: method, path, body bytes, content type
  GET  /health                says ok
  GET  /__mock/stats          per key (hash of Authorization): requests, in_flight,
                              max_in_flight, aborted; totals; forbidden_tokens
  POST /__mock/reset          starts the statistics anew

Request headers, for one answer to differ:
  X-Mock-Delay: 200ms         time between words
  X-Mock-Words: 100           number of words, the text repeated as often as needed
  X-Mock-Status: 500          an error answer in OpenAI's form
  X-Mock-Header-Delay: 2s     time before the response headers
  X-Mock-Reset-After: 3       TCP reset after so many chunks; 0: before the response headers
  X-Mock-Deny-Token: secret   as --deny-token, for this request

Examples:
  mock-upstream
      curl -N http://127.0.0.1:8080/v1/chat/completions -d '{\"stream\":true}'
  mock-upstream --delay 0 --threads 1
      as fast as one core goes
  mock-upstream --text \"$(cat answer.txt)\" --delay 20ms --listen 0.0.0.0:9000
      a realistic answer at 50 words a second, for other machines to reach";

impl Args {
    pub(crate) fn into_server(self) -> Result<Server, TlsError> {
        let mut scenario = Scenario::new().text(self.text).delay(self.delay);
        for token in self.deny_token {
            scenario = scenario.deny_token(token);
        }
        let mut server = Server::new(scenario).address(self.listen).grace(self.grace);
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
        Args::command().debug_assert();
    }

    #[test]
    fn help_names_every_header_and_variable() {
        let help = Args::command().render_long_help().to_string();
        for word in [
            "X-Mock-Reset-After",
            "MOCK_LISTEN",
            "MOCK_DENY_TOKEN",
            "/__mock/stats",
        ] {
            assert!(help.contains(word), "{word}");
        }
    }

    #[test]
    fn a_certificate_wants_its_key() {
        let error = Args::try_parse_from(["mock-upstream", "--tls-cert", "a.pem"]);
        assert!(error.expect_err("no key").to_string().contains("--tls-key"));
    }

    #[test]
    fn tokens_are_separated_by_commas_and_not_shown() {
        let args = Args::try_parse_from(["mock-upstream", "--deny-token", "one,two"]);
        let args = args.expect("flags");
        assert_eq!(args.deny_token.len(), 2);
        assert!(!format!("{args:?}").contains("two"));
    }
}

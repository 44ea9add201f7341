//! `probe` in `openai_upstream`: how an upstream is probed, independently of client requests.

use std::net::ToSocketAddrs;

use nginx_safe::{Address, Conf, ConfResult, Tls};
use url::{Position, Url};

use super::lines;
use super::tls::TlsLines;
use super::values::{self, HOUR};

/// How to probe an upstream.
pub struct ProbeSettings {
    pub address: Address,
    pub tls: Option<Tls>,
    /// Request, up to the value of `Authorization`.
    pub head: String,
    pub interval_ms: u64,
}

/// Reads `probe URL [interval=TIME] [trusted=FILE]`.
pub fn read(conf: &Conf, words: &[&str]) -> ConfResult<ProbeSettings> {
    let [url, parameters @ ..] = words else {
        return Err("takes a URL".into());
    };
    let (mut interval_ms, mut trusted) = (10_000, None);
    lines::parameters(parameters, |option| {
        option.one("interval", &mut interval_ms, values::time(100..=HOUR));
        option.one("trusted", &mut trusted, values::text);
    })?;
    let invalid = || values::invalid(url, "an http:// or https:// URL without user and password");
    let parsed = Url::parse(url).map_err(|_| invalid())?;
    let plain = parsed.username().is_empty() && parsed.password().is_none();
    let (Some(host), Some(port), true) = (parsed.host_str(), parsed.port_or_known_default(), plain)
    else {
        return Err(invalid());
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let tls = match parsed.scheme() {
        "http" if trusted.is_some() => return Err("trusted: the URL is not https://".into()),
        "http" => None,
        "https" => {
            let lines = TlsLines {
                trusted,
                ..TlsLines::default()
            };
            Some(lines.prepare(conf)?.of(bare)?)
        }
        _ => return Err(invalid()),
    };
    let found = (bare, port).to_socket_addrs().ok();
    let address = found.and_then(|mut found| found.next());
    let path = match &parsed[Position::BeforePath..Position::AfterQuery] {
        "" | "/" => "/v1/models",
        path => path,
    };
    let port = parsed.port().map_or_else(String::new, |p| format!(":{p}"));
    Ok(ProbeSettings {
        address: Address::Tcp(address.ok_or_else(|| format!("host not found in \"{url}\""))?),
        tls,
        // HTTP/1.0, so that the response ends with the connection.
        head: format!(
            "GET {path} HTTP/1.0\r\nHost: {host}{port}\r\nConnection: close\r\nAuthorization: "
        ),
        interval_ms,
    })
}

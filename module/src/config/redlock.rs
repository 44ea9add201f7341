//! `openai_redlock`: a group of independent Redis masters that lock slots by quorum.

use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::rc::Rc;

use nginx_safe::{Address, Conf, ConfResult, Position, Tls, TlsName};
use openai_core::echo;
use openai_core::redlock::{Drift, MAX_NODES, PoolNames, Quorum, RetryDelay, ShareNames};
use redis::{ConnectionAddr, IntoConnectionInfo};
use zeroize::Zeroizing;

use super::lines::{self, Line, Read};
use super::tls::TlsLines;
use super::values::{self, HOUR, SECOND};
use super::{Main, source};

/// Address of a node, and its TLS settings if it uses TLS.
#[derive(Clone)]
pub struct NodeAddress {
    pub address: Address,
    pub tls: Option<Tls>,
}

type NodeTarget = redis_nodes::NodeTarget<NodeAddress>;

/// A group, as configured.
pub struct RedlockGroup {
    pub name: String,
    pub nodes: Vec<NodeTarget>,
    pub quorum: Quorum,
    pub timeout_ms: u64,
    pub drift: Drift,
    pub retry: RetryDelay,
    /// How long a node without data grants no locks. Default: the longest TTL of the pools
    /// that use the group.
    pub quarantine_ms: Option<u64>,
    pub bootstrap: bool,
    pub renewal_ms: Option<u64>,
    /// Maximum number of times in a row that a lock is handed to the next lease.
    pub hand_over: u32,
    /// Interval between rounds of sharing stats, in milliseconds; `None` if stats are not shared.
    pub stats_ms: Option<u64>,
    pub share_names: Rc<ShareNames>,
    prefix: String,
    /// Position of the block.
    pub(super) at: Position,
}

impl RedlockGroup {
    /// Names of a pool's entries in Redis.
    pub fn names(&self, pool: &str) -> ConfResult<Rc<PoolNames>> {
        PoolNames::new(&self.prefix, pool)
            .map(Rc::new)
            .map_err(|e| e.to_string())
    }
}

struct NodeLine {
    target: NodeTarget,
    /// Host of a `rediss://` URL.
    tls_host: Option<String>,
}

#[derive(Default)]
struct Said {
    nodes: Vec<NodeLine>,
    has_node: bool,
    password: Option<Rc<Zeroizing<String>>>,
    timeout_ms: Option<u64>,
    drift: Option<Drift>,
    retry_ms: Option<u64>,
    jitter_ms: Option<u64>,
    quarantine_ms: Option<u64>,
    bootstrap: Option<bool>,
    renewal_ms: Option<u64>,
    hand_over: Option<u32>,
    stats_ms: Option<Option<u64>>,
    prefix: Option<String>,
    tls: TlsLines,
}

/// Reads an `openai_redlock` block.
pub fn read(conf: &mut Conf, main: &mut Main) -> Read {
    let is_taken = |name: &str| main.groups.iter().any(|group| group.name == name);
    let name = lines::name(conf, "shm", is_taken)?;
    let (mut said, at) = (Said::default(), conf.position());
    lines::block(conf, &LINES, |conf, line| said.read(conf, line))?;
    let group = said.into_group(conf, name, at)?;
    main.groups.push(group);
    Ok(())
}

/// Names of the directives in a block.
const LINES: [&str; 17] = [
    "node",
    "password",
    "node_timeout",
    "drift",
    "renew",
    "retry_delay",
    "retry_jitter",
    "quarantine",
    "bootstrap",
    "hand_over",
    "stats_interval",
    "prefix",
    "tls_trusted_certificate",
    "tls_verify",
    "tls_name",
    "tls_certificate",
    "tls_certificate_key",
];

impl Said {
    fn read(&mut self, conf: &Conf, line: &Line<'_>) -> ConfResult {
        let delay = |least| values::time(least..=10 * SECOND);
        let stats = values::or_off(values::time(100..=HOUR));
        let text = |value: &str| Ok(value.to_string());
        match line.name {
            "node" => {
                self.has_node = true;
                line.one(&mut None, |value| read_nodes(conf, value, &mut self.nodes))
            }
            "password" => line.one(&mut self.password, |value| password(conf, value)),
            "node_timeout" => line.one(&mut self.timeout_ms, delay(1)),
            "drift" => line.one(&mut self.drift, drift),
            "renew" => line.one(&mut self.renewal_ms, values::time(10..=HOUR)),
            "retry_delay" => line.one(&mut self.retry_ms, delay(1)),
            "retry_jitter" => line.one(&mut self.jitter_ms, delay(0)),
            "quarantine" => line.one(&mut self.quarantine_ms, values::time_ms),
            "bootstrap" => line.one(&mut self.bootstrap, values::flag),
            "hand_over" => line.one(&mut self.hand_over, values::number(0..=100_000)),
            "stats_interval" => line.one(&mut self.stats_ms, stats),
            "prefix" => line.one(&mut self.prefix, prefix),
            "tls_trusted_certificate" => line.one(&mut self.tls.trusted, text),
            "tls_verify" => line.one(&mut self.tls.verify, values::flag),
            "tls_name" => line.one(&mut self.tls.name, TlsName::new),
            "tls_certificate" => line.one(&mut self.tls.certificate, text),
            _ => line.one(&mut self.tls.key, text),
        }
    }

    fn into_group(self, conf: &Conf, name: String, at: Position) -> ConfResult<RedlockGroup> {
        if !self.has_node {
            return Err(format!(
                "\"{name}\" has no \"node\", add \"node redis://HOST:PORT;\""
            ));
        }
        let mut nodes =
            secured(conf, self.nodes, self.tls).map_err(|e| format!("\"{name}\": {e}"))?;
        for node in &mut nodes {
            node.password = node.password.take().or_else(|| self.password.clone());
        }
        let count = u8::try_from(nodes.len()).unwrap_or(u8::MAX);
        let quorum = match Quorum::of(count) {
            Some(quorum) => quorum,
            None if conf.only_signals() && count == 0 => {
                Quorum::of(1).ok_or("a group needs a node")?
            }
            None => {
                return Err(format!(
                    "\"{name}\" has {count} nodes, it must have 1 to {MAX_NODES}"
                ));
            }
        };
        let prefix = self.prefix.unwrap_or_default();
        Ok(RedlockGroup {
            name,
            nodes,
            quorum,
            timeout_ms: self.timeout_ms.unwrap_or(50),
            drift: self.drift.unwrap_or_default(),
            retry: RetryDelay {
                min_ms: self.retry_ms.unwrap_or(2),
                jitter_ms: self.jitter_ms.unwrap_or(20),
            },
            quarantine_ms: self.quarantine_ms,
            bootstrap: self.bootstrap.unwrap_or(false),
            renewal_ms: self.renewal_ms,
            hand_over: self.hand_over.unwrap_or(64),
            stats_ms: self.stats_ms.unwrap_or(Some(5_000)),
            share_names: ShareNames::new(&prefix)
                .map(Rc::new)
                .map_err(|e| e.to_string())?,
            prefix,
            at,
        })
    }
}

/// The nodes, with TLS for those that ask for it.
fn secured(conf: &Conf, mut nodes: Vec<NodeLine>, lines: TlsLines) -> ConfResult<Vec<NodeTarget>> {
    if nodes.iter().any(|node| node.tls_host.is_some()) {
        let tls = lines.prepare(conf)?;
        for node in &mut nodes {
            let host = node.tls_host.as_deref();
            node.target.address.tls = host.map(|host| tls.of(host)).transpose()?;
        }
    } else if let Some(line) = lines.any()
        && !conf.only_signals()
    {
        return Err(format!(
            "{line}: the group has no rediss:// node; use rediss:// in \"node\", or remove it"
        ));
    }
    Ok(nodes.into_iter().map(|node| node.target).collect())
}

/// Reads the share of the TTL by which clocks may drift apart.
fn drift(value: &str) -> ConfResult<Drift> {
    let share = value
        .strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok());
    match share {
        Some(percent) if (0.0..=50.0).contains(&percent) => Ok(Drift {
            ppm: (percent * 10_000.0) as u32,
            ..Drift::default()
        }),
        _ => Err(values::invalid(value, "from 0% to 50%")),
    }
}

fn prefix(value: &str) -> ConfResult<String> {
    PoolNames::new(value, "x").map_err(|e| e.to_string())?;
    Ok(value.to_string())
}

fn password(conf: &Conf, value: &str) -> ConfResult<Rc<Zeroizing<String>>> {
    let text = match (value.strip_prefix("env:"), value.strip_prefix("file:")) {
        (Some(name), _) => source::required(conf, name)?,
        (_, Some(path)) => source::file(conf, path, false)?,
        _ => return Err("it must be env:NAME or file:PATH, not the password itself".into()),
    };
    let text = text.trim();
    if text.is_empty() && !conf.only_signals() {
        return Err(format!("{value} is empty, write the password to it"));
    }
    Ok(Rc::new(Zeroizing::new(text.to_string())))
}

fn read_nodes(conf: &Conf, value: &str, nodes: &mut Vec<NodeLine>) -> ConfResult {
    let Some(name) = value.strip_prefix("env:") else {
        // A URL with a user or a query may contain a password: do not show it.
        return node(value).and_then(|node| add(nodes, node)).map_err(|e| {
            match value.contains(['@', '?']) {
                true => e,
                false => format!("\"{value}\": {e}"),
            }
        });
    };
    let urls = source::required(conf, name)?;
    let urls = urls.split(',').map(str::trim).filter(|url| !url.is_empty());
    let before = nodes.len();
    for (number, url) in (1..).zip(urls) {
        // The URL may contain a password: do not show it.
        node(url)
            .and_then(|node| add(nodes, node))
            .map_err(|e| format!("env:{}, URL {number}: {e}", echo::variable(name)))?;
    }
    if nodes.len() == before && !conf.only_signals() {
        return Err(format!(
            "env:{} contains no URL, it must have redis://HOST:PORT",
            echo::variable(name)
        ));
    }
    Ok(())
}

fn add(nodes: &mut Vec<NodeLine>, node: NodeLine) -> ConfResult {
    // Databases of one server are not independent.
    let same = |known: &NodeLine| known.target.address.address == node.target.address.address;
    if nodes.iter().any(same) {
        return Err(format!(
            "{} is listed twice, remove one of them: nodes must be independent",
            node.target.name
        ));
    }
    nodes.push(node);
    Ok(())
}

/// Reads the URL of a node. Its host name is resolved once, here.
fn node(url: &str) -> ConfResult<NodeLine> {
    let rewritten;
    let (url, is_tls) = match (url.strip_prefix("unix:"), url.strip_prefix("rediss:")) {
        (Some(path), _) if !path.starts_with("//") => {
            rewritten = format!("unix://{path}");
            (rewritten.as_str(), false)
        }
        (_, Some(rest)) => {
            // Other programs take `#insecure` as an option: do not ignore it silently.
            if rest.contains('#') {
                return Err("a rediss:// URL must not contain #; see tls_verify".into());
            }
            rewritten = format!("redis:{rest}");
            (rewritten.as_str(), true)
        }
        _ => (url, false),
    };
    let info = url
        .into_connection_info()
        .map_err(|_| "not a URL, it must be redis://HOST:PORT, rediss://HOST:PORT or unix:PATH")?;
    let (name, address, host) = match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let name = format!("{host}:{port}");
            let found = (host.as_str(), *port)
                .to_socket_addrs()
                .ok()
                .and_then(|mut a| a.next());
            let address = found
                .ok_or_else(|| format!("host not found in \"{name}\", check its name and DNS"))?;
            (name, Address::Tcp(address), Some(host.clone()))
        }
        ConnectionAddr::Unix(path) => (
            format!("unix:{}", path.display()),
            Address::Unix(PathBuf::from(path)),
            None,
        ),
        _ => return Err("it must begin with redis://, rediss:// or unix:".into()),
    };
    let settings = info.redis_settings();
    let target = NodeTarget {
        name,
        address: NodeAddress { address, tls: None },
        user: settings.username().map(ToString::to_string),
        password: settings
            .password()
            .map(|p| Rc::new(Zeroizing::new(p.to_string()))),
        database: settings.db(),
    };
    Ok(NodeLine {
        target,
        tls_host: host.filter(|_| is_tls),
    })
}

//! `openai_redlock`: a group of independent Redis masters that lock slots by quorum.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::rc::Rc;

use nginx_safe::{Address, Conf, ConfResult, Position, Tls};
use openai_core::echo;
use openai_core::redlock::{Drift, MAX_NODES, PoolNames, Quorum, RetryDelay, ShareNames};
use redis::{ConnectionAddr, IntoConnectionInfo};
use zeroize::Zeroizing;

use super::lines::{self, Read};
use super::tls::TlsLines;
use super::values::{self, HOUR, SECOND};
use super::{Main, source};

/// Address of a node, and its TLS settings if it uses TLS.
#[derive(Clone)]
pub struct NodeAddress {
    /// The address when the configuration was read.
    pub address: Address,
    /// The host name to be looked up again for each connection; `None` if the URL has an address.
    pub host: Option<String>,
    pub tls: Option<Tls>,
}

type NodeTarget = redis_nodes::NodeTarget<NodeAddress>;

/// Limits of retained locks.
#[derive(Clone, Copy)]
pub struct RetainLimits {
    /// How long a lock is kept without a request, in milliseconds.
    pub idle_ms: u32,
    /// Maximum number of locks per pool.
    pub most: u32,
}

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
    /// `None` if no locks are retained.
    pub retain: Option<RetainLimits>,
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

/// Reads an `openai_redlock` block.
pub fn read(conf: &mut Conf, main: &mut Main) -> Read {
    let is_taken = |name: &str| main.groups.iter().any(|group| group.name == name);
    let name = lines::name(conf, "shm", is_taken)?;
    let at = conf.position();
    let (mut nodes, mut tls, mut shared_password) = (vec![], TlsLines::default(), None);
    let (mut timeout_ms, mut hand_over, mut prefix) = (50, 64, String::new());
    let (mut drift, mut bootstrap) = (Drift::default(), false);
    let mut retry = RetryDelay {
        min_ms: 2,
        jitter_ms: 20,
    };
    let (mut quarantine_ms, mut renewal_ms, mut stats_ms) = (None, None, Some(5_000));
    let delay = |least| values::time(least..=10 * SECOND);
    let mut retain = None;
    let stats_interval = values::or_off(values::time(100..=HOUR));
    let seen = lines::block(conf, |conf, line| {
        line.each(
            "node",
            lines::single(|value| read_nodes(conf, value, &mut nodes)),
        );
        line.one("password", &mut shared_password, |value| {
            password(conf, value)
        });
        line.one("node_timeout", &mut timeout_ms, delay(1));
        line.one("drift", &mut drift, read_drift);
        line.one("renew", &mut renewal_ms, values::time(10..=HOUR));
        line.one("retry_delay", &mut retry.min_ms, delay(1));
        line.one("retry_jitter", &mut retry.jitter_ms, delay(0));
        line.one("quarantine", &mut quarantine_ms, values::time_ms);
        line.one("bootstrap", &mut bootstrap, values::flag);
        line.one("hand_over", &mut hand_over, values::number(0..=100_000));
        line.once("retain", |words| {
            retain = read_retain(words)?;
            Ok(())
        });
        line.one("stats_interval", &mut stats_ms, &stats_interval);
        line.one("prefix", &mut prefix, read_prefix);
        tls.read(line);
    })?;
    if !seen.contains(&"node") {
        return Err(Some(format!(
            "\"{name}\" has no \"node\", add \"node redis://HOST:PORT;\""
        )));
    }
    let mut tls_lines = TlsLines::NAMES.iter().filter(|name| seen.contains(name));
    let nodes = secured(conf, nodes, tls, tls_lines.next());
    let mut nodes = nodes.map_err(|e| format!("\"{name}\": {e}"))?;
    for node in &mut nodes {
        node.password = node.password.take().or_else(|| shared_password.clone());
    }
    let count = u8::try_from(nodes.len()).unwrap_or(u8::MAX);
    // Under `nginx -s` the variables with the URLs may be missing.
    let voters = count.max(conf.only_signals().into());
    let quorum = Quorum::of(voters)
        .ok_or_else(|| format!("\"{name}\" has {count} nodes, it must have 1 to {MAX_NODES}"))?;
    main.groups.push(RedlockGroup {
        name,
        nodes,
        quorum,
        timeout_ms,
        drift,
        retry,
        quarantine_ms,
        bootstrap,
        renewal_ms,
        hand_over,
        retain,
        stats_ms,
        share_names: ShareNames::new(&prefix)
            .map(Rc::new)
            .map_err(|e| e.to_string())?,
        prefix,
        at,
    });
    Ok(())
}

/// The nodes, with TLS for those that ask for it.
/// `tls_line` is one of the names of the TLS directives in the block.
fn secured(
    conf: &Conf,
    mut nodes: Vec<NodeLine>,
    lines: TlsLines,
    tls_line: Option<&&str>,
) -> ConfResult<Vec<NodeTarget>> {
    if nodes.iter().any(|node| node.tls_host.is_some()) {
        let tls = lines.prepare(conf)?;
        for node in &mut nodes {
            let host = node.tls_host.as_deref();
            node.target.address.tls = host.map(|host| tls.of(host)).transpose()?;
        }
    } else if let Some(line) = tls_line
        && !conf.only_signals()
    {
        return Err(format!(
            "{line}: the group has no rediss:// node; use rediss:// in \"node\", or remove it"
        ));
    }
    Ok(nodes.into_iter().map(|node| node.target).collect())
}

/// Reads the arguments of `retain`.
fn read_retain(words: &[&str]) -> ConfResult<Option<RetainLimits>> {
    let [time, parameters @ ..] = words else {
        return Err("takes a time, or \"off\"".into());
    };
    let idle_ms = values::or_off(values::time(10..=SECOND))(time)?;
    let mut most = 256;
    lines::parameters(parameters, |parameter| {
        parameter.one("max", &mut most, values::number(1..=1_000_000));
    })?;
    match idle_ms {
        None if !parameters.is_empty() => Err("\"off\" takes no parameters".into()),
        None => Ok(None),
        Some(idle_ms) => Ok(Some(RetainLimits {
            idle_ms: idle_ms as u32,
            most,
        })),
    }
}

/// Reads the share of the TTL by which clocks may drift apart.
fn read_drift(value: &str) -> ConfResult<Drift> {
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

fn read_prefix(value: &str) -> ConfResult<String> {
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

/// Reads the URL of a node, and looks up its host name.
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
        address: NodeAddress {
            address,
            host: host.clone().filter(|host| host.parse::<IpAddr>().is_err()),
            tls: None,
        },
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

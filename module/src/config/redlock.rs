//! `openai_redlock`: a group of independent Redis masters that lock slots by quorum.

use std::ffi::CStr;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::rc::Rc;

use nginx_safe::{
    Address, Args, Block, Conf, ConfResult, Directive, Scope, Tls, TlsName, argument,
};
use openai_core::echo;
use openai_core::redlock::{Drift, MAX_NODES, PoolNames, Quorum, RetryDelay, ShareNames};
use redis::{ConnectionAddr, IntoConnectionInfo};
use zeroize::Zeroizing;

use super::tls::TlsLines;
use super::{Main, source, values};

/// The address of a node, and whether TLS is spoken there.
#[derive(Clone)]
pub struct NodeAddress {
    pub address: Address,
    pub tls: Option<Tls>,
}

type NodeTarget = redis_nodes::NodeTarget<NodeAddress>;

/// A group, as its block states it.
pub struct RedlockGroup {
    pub name: String,
    pub nodes: Vec<NodeTarget>,
    pub quorum: Quorum,
    pub timeout_ms: u64,
    pub drift: Drift,
    pub retry: RetryDelay,
    /// None: the longest TTL of the pools that use it.
    pub quarantine_ms: Option<u64>,
    pub bootstrap: bool,
    pub renewal_ms: Option<u64>,
    /// How often in a row a lock passes to the next lease without being given back.
    pub hand_over: u32,
    /// How often totals are shared; none if not at all.
    pub stats_ms: Option<u64>,
    pub share_names: Rc<ShareNames>,
    prefix: String,
}

impl RedlockGroup {
    /// The names of a pool's keys in Redis.
    pub fn names(&self, pool: &str) -> ConfResult<Rc<PoolNames>> {
        PoolNames::new(&self.prefix, pool)
            .map(Rc::new)
            .map_err(|e| e.to_string())
    }
}

struct Node {
    target: NodeTarget,
    /// The URL's host, if it asks for TLS.
    tls_host: Option<String>,
}

#[derive(Default)]
struct Said {
    nodes: Vec<Node>,
    sources: usize,
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

pub struct RedlockBlock;

impl Directive for RedlockBlock {
    type Target = Main;
    const NAME: &'static CStr = c"openai_redlock";
    const SCOPE: Scope = Scope::Http;
    const ARGS: Args = Args::NamedBlock;

    fn read(conf: &mut Conf, main: &mut Main) -> Result<(), Option<String>> {
        let name = argument(conf)?;
        if echo::begins_like_a_key(&name) {
            return Err(Some(format!("invalid name \"{name}\"")));
        }
        if name == "shm" || main.groups.iter().any(|group| group.name == name) {
            return Err(Some(format!("\"{name}\" is a duplicate")));
        }
        let mut said = Said::default();
        let read = |conf: &Conf, line: Block<'_>| {
            read_line(conf, line.words, &mut said)
                .map_err(|e| format!("openai_redlock \"{name}\": {e}"))
        };
        conf.block(read).map_err(|()| None)?;
        main.groups.push(said.into_group(conf, name).map_err(Some)?);
        Ok(())
    }
}

impl Said {
    fn into_group(self, conf: &Conf, name: String) -> ConfResult<RedlockGroup> {
        if self.sources == 0 {
            return Err(format!("\"{name}\" has no \"node\""));
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
        })
    }
}

/// The nodes, with TLS for those that ask for it.
fn secured(conf: &Conf, mut nodes: Vec<Node>, lines: TlsLines) -> ConfResult<Vec<NodeTarget>> {
    if nodes.iter().any(|node| node.tls_host.is_some()) {
        let tls = lines.prepare(conf)?;
        for node in &mut nodes {
            let host = node.tls_host.as_deref();
            node.target.address.tls = host.map(|host| tls.of(host)).transpose()?;
        }
    } else if let Some(line) = lines.any()
        && !(nodes.is_empty() && conf.only_signals())
    {
        return Err(format!("{line}: the group has no rediss:// node"));
    }
    Ok(nodes.into_iter().map(|node| node.target).collect())
}

fn read_line(conf: &Conf, words: &[&str], said: &mut Said) -> ConfResult {
    let [name, value] = words else {
        let name = words.first().unwrap_or(&"");
        return Err(format!("{name}: takes one argument"));
    };
    match *name {
        "node" => {
            said.sources += 1;
            read_nodes(conf, value, &mut said.nodes)
        }
        "password" => values::once(&mut said.password, password(conf, value)),
        "node_timeout" => values::once(&mut said.timeout_ms, between(value, 1, 10_000)),
        "drift" => values::once(&mut said.drift, drift(value)),
        "renew" => values::once(&mut said.renewal_ms, between(value, 10, 3_600_000)),
        "retry_delay" => values::once(&mut said.retry_ms, between(value, 1, 10_000)),
        "retry_jitter" => values::once(&mut said.jitter_ms, between(value, 0, 10_000)),
        "quarantine" => values::once(&mut said.quarantine_ms, values::time_ms(value)),
        "bootstrap" => values::once(&mut said.bootstrap, values::flag(value)),
        "hand_over" => values::once(&mut said.hand_over, count(value)),
        "stats_interval" => values::once(&mut said.stats_ms, stats_interval(value)),
        "prefix" => values::once(&mut said.prefix, prefix(value)),
        "tls_trusted_certificate" => values::once(&mut said.tls.trusted, Ok(value.to_string())),
        "tls_verify" => values::once(&mut said.tls.verify, values::flag(value)),
        "tls_name" => values::once(&mut said.tls.name, TlsName::new(value)),
        "tls_certificate" => values::once(&mut said.tls.certificate, Ok(value.to_string())),
        "tls_certificate_key" => values::once(&mut said.tls.key, Ok(value.to_string())),
        _ => return Err(format!("unknown directive \"{name}\"")),
    }
    .map_err(|e| format!("{name}: {e}"))
}

fn between(value: &str, least: u64, most: u64) -> ConfResult<u64> {
    let ms = values::time_ms(value)?;
    if (least..=most).contains(&ms) {
        return Ok(ms);
    }
    Err(format!(
        "\"{value}\" is out of range, it must be from {least}ms to {most}ms"
    ))
}

fn stats_interval(value: &str) -> ConfResult<Option<u64>> {
    match value {
        "off" => Ok(None),
        time => between(time, 100, 3_600_000).map(Some),
    }
}

fn count(value: &str) -> ConfResult<u32> {
    let count = value.parse::<u32>().ok().filter(|n| *n <= 100_000);
    count.ok_or_else(|| format!("invalid value \"{value}\", it must be from 0 to 100000"))
}

/// The share of the TTL that clocks may run apart by.
fn drift(value: &str) -> ConfResult<Drift> {
    let share = value
        .strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok());
    match share {
        Some(percent) if (0.0..=50.0).contains(&percent) => Ok(Drift {
            ppm: (percent * 10_000.0) as u32,
            ..Drift::default()
        }),
        _ => Err(format!(
            "invalid value \"{value}\", it must be from 0% to 50%"
        )),
    }
}

fn prefix(value: &str) -> ConfResult<String> {
    PoolNames::new(value, "x").map_err(|e| e.to_string())?;
    Ok(value.to_string())
}

fn password(conf: &Conf, value: &str) -> ConfResult<Rc<Zeroizing<String>>> {
    let text = match (value.strip_prefix("env:"), value.strip_prefix("file:")) {
        (Some(name), _) => source::environment(conf, name),
        (_, Some(path)) => source::file(conf, path, false)?,
        _ => return Err("must be env:NAME or file:PATH".into()),
    };
    let text = text.trim();
    if text.is_empty() && !conf.only_signals() {
        let place = value.strip_prefix("env:").map(echo::variable);
        return Err(match place {
            Some(name) => format!("env:{name} is empty"),
            None => format!("{value} is empty"),
        });
    }
    Ok(Rc::new(Zeroizing::new(text.to_string())))
}

fn read_nodes(conf: &Conf, value: &str, nodes: &mut Vec<Node>) -> ConfResult {
    let Some(name) = value.strip_prefix("env:") else {
        return add(nodes, node(value)?);
    };
    let urls = source::environment(conf, name);
    let urls = urls.split(',').map(str::trim).filter(|url| !url.is_empty());
    let before = nodes.len();
    for (number, url) in (1..).zip(urls) {
        // The address may carry a password: it is not shown.
        node(url)
            .and_then(|node| add(nodes, node))
            .map_err(|e| format!("env:{}, URL {number}: {e}", echo::variable(name)))?;
    }
    if nodes.len() == before && !conf.only_signals() {
        return Err(format!("env:{} holds no URL", echo::variable(name)));
    }
    Ok(())
}

fn add(nodes: &mut Vec<Node>, node: Node) -> ConfResult {
    let same = |known: &Node| {
        let (known, new) = (&known.target, &node.target);
        known.address.address == new.address.address && known.database == new.database
    };
    if nodes.iter().any(same) {
        return Err(format!(
            "{} stands twice: nodes must be independent",
            node.target.name
        ));
    }
    nodes.push(node);
    Ok(())
}

/// A node by its URL. Host names are resolved here, once.
fn node(url: &str) -> ConfResult<Node> {
    let rewritten;
    let (url, is_tls) = match (url.strip_prefix("unix:"), url.strip_prefix("rediss:")) {
        (Some(path), _) if !path.starts_with("//") => {
            rewritten = format!("unix://{path}");
            (rewritten.as_str(), false)
        }
        (_, Some(rest)) => {
            // As in #insecure: what others take for an option.
            if rest.contains('#') {
                return Err("a rediss:// URL has no # here; see tls_verify".into());
            }
            rewritten = format!("redis:{rest}");
            (rewritten.as_str(), true)
        }
        _ => (url, false),
    };
    let info = url
        .into_connection_info()
        .map_err(|_| "not the URL of a Redis server".to_string())?;
    let (name, address, host) = match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let name = format!("{host}:{port}");
            let found = (host.as_str(), *port)
                .to_socket_addrs()
                .ok()
                .and_then(|mut a| a.next());
            let address = found.ok_or_else(|| format!("host not found in \"{name}\""))?;
            (name, Address::Tcp(address), Some(host.clone()))
        }
        ConnectionAddr::Unix(path) => (
            format!("unix:{}", path.display()),
            Address::Unix(PathBuf::from(path)),
            None,
        ),
        _ => return Err("only redis://, rediss:// and unix: are supported".into()),
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
    Ok(Node {
        target,
        tls_host: host.filter(|_| is_tls),
    })
}

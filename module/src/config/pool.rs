//! `openai_pool`: a named pool of API keys.

use std::rc::Rc;

use nginx_safe::{Conf, ConfResult, Mistake, is_testing};
use openai_core::keys::{KeyList, KeySource, KeySpec};
use openai_core::lease::{Balance, KeyPolicy, MAX_POOL_NAME, PoolConfig};
use openai_core::redlock::PoolNames;

use super::keys::{KeyLine, PoolKey};
use super::lines::{self, Placed, Read};
use super::values::{self, DAY};
use super::{Main, RedlockGroup, policy, source};

const BALANCES: [(&str, Balance); 4] = [
    ("round_robin", Balance::RoundRobin),
    ("weighted", Balance::Weighted),
    ("least_busy", Balance::LeastBusy),
    ("random", Balance::Random),
];

/// A pool of keys, as configured.
pub struct Pool {
    pub name: String,
    pub keys: Vec<Rc<PoolKey>>,
    /// Sources of its keys; empty once the configuration is complete.
    pub sources: Vec<KeyLine>,
    pub wait_ms: u64,
    pub ttl_ms: u64,
    pub store: Store,
    balance: Balance,
    queue: u32,
    policy: KeyPolicy,
}

impl Pool {
    /// Whether the configuration limits the tokens of its keys.
    pub fn limits_tokens(&self) -> bool {
        self.policy.tpm != 0
    }
}

/// Where a pool's leases are exclusive.
pub enum Store {
    /// On this machine.
    Shm,
    /// On all machines that share a group of Redis masters.
    Redlock {
        /// The position of the group in the configuration.
        group: usize,
        /// Names of the pool's entries in Redis.
        names: Rc<PoolNames>,
        /// Whether slots are leased without a lock, thus exclusively on this machine only,
        /// while too few nodes can vote.
        fallback: bool,
    },
    /// A group that has not been looked up yet, and whether to fall back.
    Named(Placed<(String, bool)>),
}

impl Pool {
    /// Looks up the group that the pool names.
    pub fn resolve_store(&mut self, groups: &[RedlockGroup]) -> Result<(), Mistake> {
        let Store::Named(placed) = &self.store else {
            return Ok(());
        };
        let (name, fallback) = &placed.value;
        let mistake = |e| placed.mistake(format!("openai_pool \"{}\": {e}", self.name));
        let group = groups.iter().position(|group| group.name == *name);
        let group = group.ok_or_else(|| {
            let known = groups.iter().map(|group| &*group.name);
            let none = lines::none_named("group", "openai_redlock", name, known);
            mistake(format!("store: {none}"))
        })?;
        let names = groups[group].names(&self.name).map_err(mistake)?;
        for key in &self.keys {
            key.slots().map_err(|e| mistake(format!("key: {e}")))?;
        }
        self.store = Store::Redlock {
            group,
            names,
            fallback: *fallback,
        };
        Ok(())
    }

    pub fn for_zone(&self) -> PoolConfig {
        let is_locked = !matches!(self.store, Store::Shm);
        let keys = self.keys.iter().map(|key| key.for_zone(is_locked));
        PoolConfig {
            name: self.name.clone(),
            balance: self.balance,
            queue: self.queue,
            policy: self.policy,
            keys: keys.collect(),
        }
    }
}

/// Directives of a block. Only `key` may occur several times.
#[derive(Default)]
struct Said {
    keys: KeyList,
    sources: Vec<KeyLine>,
    /// Whether there is a `key` line.
    has_key: bool,
    balance: Option<Balance>,
    ttl_ms: Option<u64>,
    wait_ms: Option<u64>,
    queue: Option<u32>,
    store: Option<Store>,
    policy: policy::Said,
}

/// Names of the directives in a block.
const LINES: [&str; 9] = [
    "key",
    "balance",
    "lease_ttl",
    "wait",
    "queue",
    "store",
    "limit",
    "cool_down",
    "ramp",
];

/// Error message for a pool whose sources contain no key.
pub fn no_keys(pool: &str) -> String {
    format!("\"{pool}\" has no keys: its sources are all empty, and one must have a key")
}

/// Reads an `openai_pool` block.
pub fn read(conf: &mut Conf, main: &mut Main) -> Read {
    let name = lines::name(conf, "off", |name| main.pool_named(name).is_some())?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !name.chars().all(plain) {
        let wanted = "of the characters A-Z a-z 0-9 . _ -";
        return Err(Some(values::invalid(&name, wanted)));
    }
    if name.len() > MAX_POOL_NAME {
        return Err(Some(format!(
            "\"{name}\" is longer than {MAX_POOL_NAME} bytes"
        )));
    }
    let mut said = Said::default();
    lines::block(conf, &LINES, |conf, line| match line.name {
        "key" => read_key(conf, &name, line.values, &mut said),
        "balance" => line.one(&mut said.balance, values::one_of(&BALANCES)),
        "lease_ttl" => line.one(&mut said.ttl_ms, values::time(100..=DAY)),
        "wait" => line.one(&mut said.wait_ms, values::time_ms),
        "queue" => line.one(&mut said.queue, values::number(0..=1_000_000)),
        "store" => line.many(&mut said.store, |words| store(conf, words)),
        _ => said.policy.read(line),
    })?;
    if !said.has_key {
        return Err(Some(format!(
            "\"{name}\" has no \"key\", add \"key env:NAME;\" or \"key file:PATH;\""
        )));
    }
    if said.keys.keys().is_empty() && !conf.only_signals() {
        return Err(Some(no_keys(&name)));
    }
    main.pools.push(said.into_pool(name));
    Ok(())
}

impl Said {
    fn into_pool(self, name: String) -> Pool {
        let keys = self.keys.into_keys().into_iter();
        let keys = keys.map(|key| Rc::new(PoolKey::new(key))).collect();
        Pool {
            name,
            keys,
            sources: self.sources,
            balance: self.balance.unwrap_or_default(),
            ttl_ms: self.ttl_ms.unwrap_or(30_000),
            wait_ms: self.wait_ms.unwrap_or(30_000),
            queue: self.queue.unwrap_or(1_000),
            store: self.store.unwrap_or(Store::Shm),
            policy: self.policy.into_policy(),
        }
    }
}

fn read_key(conf: &Conf, pool: &str, parameters: &[&str], said: &mut Said) -> ConfResult {
    said.has_key = true;
    let source = KeyLine::parse(conf, parameters)?;
    if !conf.only_signals() {
        let secret = source.file().map(|_| source::secret(conf));
        let known = said.keys.keys().len();
        source.add_to(&mut said.keys, &secret.unwrap_or_default())?;
        if is_testing() {
            let added = said.keys.since(known);
            warn_of_unlikely(conf, pool, source.source(), added);
        }
        said.sources.push(source);
    }
    Ok(())
}

/// Warns of a `key` directive whose keys do not have the form of OpenAI's.
fn warn_of_unlikely<'a>(
    conf: &Conf,
    pool: &str,
    source: &KeySource,
    keys: impl Iterator<Item = (&'a KeySpec, &'a str)>,
) {
    let mut unlikely = keys.filter(|(key, _)| !key.looks_like_openai());
    let Some((_, place)) = unlikely.next() else {
        return;
    };
    let more = match unlikely.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let variable = match source {
        KeySource::Literal(_) => "if it is the name of a variable, write \"env:NAME\"; ",
        _ => "",
    };
    conf.warn(&format!(
        "openai_pool \"{pool}\": key: {place}{more}: not in the form of an OpenAI key (\"sk-\" and at least 20 \
         characters in all); {variable}ignore this for keys of other providers"
    ));
}

fn store(conf: &Conf, values: &[&str]) -> ConfResult<Store> {
    let (group, fallback) = match *values {
        ["shm"] => return Ok(Store::Shm),
        ["shm", ..] => return Err("shm takes no parameter".into()),
        [group] => (group, false),
        [group, "fallback=shm"] => (group, true),
        [_, parameter] => {
            let wanted = "\"fallback=shm\" or nothing";
            return Err(values::invalid(parameter, wanted));
        }
        _ => return Err("takes shm, or a group and optionally fallback=shm".into()),
    };
    let named = (group.to_string(), fallback);
    Ok(Store::Named(Placed::new(conf, named)))
}

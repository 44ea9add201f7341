//! `openai_pool`: a named pool of API keys.

use std::rc::Rc;

use nginx_safe::{Conf, ConfResult, Mistake, is_testing};
use openai_core::keys::{KeyList, KeySpec, SecretSource};
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
        let known = groups.iter().map(|group| &*group.name);
        let group = lines::find("group", "openai_redlock", name, known)
            .map_err(|e| mistake(format!("store: {e}")))?;
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

/// Error message for a pool whose sources contain no key.
pub fn no_keys(pool: &str) -> String {
    format!("\"{pool}\" has no keys: its sources are all empty, and one must have a key")
}

/// Reads an `openai_pool` block.
pub fn read(conf: &mut Conf, main: &mut Main) -> Read {
    let name = lines::name(conf, "off", |name| main.known_pool(name).is_ok())?;
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
    let mut keys = KeyList::default();
    let mut pool = Pool {
        name,
        keys: vec![],
        sources: vec![],
        wait_ms: 30_000,
        ttl_ms: 30_000,
        store: Store::Shm,
        balance: Balance::default(),
        queue: 1_000,
        policy: KeyPolicy::default(),
    };
    let seen = lines::block(conf, |conf, line| {
        line.each("key", |words| read_key(conf, words, &mut pool, &mut keys));
        line.one("balance", &mut pool.balance, values::one_of(&BALANCES));
        line.one("lease_ttl", &mut pool.ttl_ms, values::time(100..=DAY));
        line.one("wait", &mut pool.wait_ms, values::time_ms);
        line.one("queue", &mut pool.queue, values::number(0..=1_000_000));
        line.once("store", |words| {
            pool.store = store(conf, words)?;
            Ok(())
        });
        policy::read(line, &mut pool.policy);
    })?;
    if !seen.contains(&"key") {
        return Err(Some(format!(
            "\"{}\" has no \"key\", add \"key env:NAME;\" or \"key file:PATH;\"",
            pool.name
        )));
    }
    if keys.keys().is_empty() && !conf.only_signals() {
        return Err(Some(no_keys(&pool.name)));
    }
    let keys = keys.into_keys().into_iter();
    pool.keys = keys.map(|key| Rc::new(PoolKey::new(key))).collect();
    main.pools.push(pool);
    Ok(())
}

fn read_key(conf: &Conf, words: &[&str], pool: &mut Pool, keys: &mut KeyList) -> ConfResult {
    let source = KeyLine::parse(conf, words)?;
    if !conf.only_signals() {
        let secret = source.file().map(|_| source::secret(conf));
        let known = keys.keys().len();
        source.add_to(keys, &secret.unwrap_or_default())?;
        if is_testing() {
            warn_of_unlikely(conf, &pool.name, source.source(), keys.since(known));
        }
        pool.sources.push(source);
    }
    Ok(())
}

/// Warns of a `key` directive whose keys do not have the form of OpenAI's.
fn warn_of_unlikely<'a>(
    conf: &Conf,
    pool: &str,
    source: &SecretSource,
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
        SecretSource::Literal(_) => "if it is the name of a variable, write \"env:NAME\"; ",
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

//! `openai_pool`: a named pool of API keys.

use std::ffi::CStr;
use std::rc::Rc;

use nginx_safe::{Args, Block, Conf, ConfResult, Directive, Scope, argument};
use openai_core::echo::begins_like_a_key;
use openai_core::keys::KeyList;
use openai_core::lease::{Balance, KeyPolicy, MAX_POOL_NAME, PoolConfig};
use openai_core::redlock::PoolNames;

use super::keys::{KeyTable, PoolKey, Source};
use super::{Main, RedlockGroup, policy, source, values};

/// A pool of keys, as its block states it.
pub struct Pool {
    pub name: String,
    pub keys: Rc<KeyTable>,
    /// Where its keys come from, until the configuration is complete.
    pub sources: Vec<Source>,
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
        /// The names of the pool's keys there.
        names: Rc<PoolNames>,
        /// Whether leases are exclusive on this machine only while there is no quorum.
        fallback: bool,
    },
    /// Not looked up yet.
    Named { group: String, fallback: bool },
}

impl Pool {
    /// Finds the group that the pool names.
    pub fn resolve_store(&mut self, groups: &[RedlockGroup]) -> ConfResult {
        let Store::Named {
            group: name,
            fallback,
        } = &self.store
        else {
            return Ok(());
        };
        let group = groups.iter().position(|group| group.name == *name);
        let group = group.ok_or_else(|| format!("store: no openai_redlock \"{name}\""))?;
        let names = groups[group].names(&self.name)?;
        for key in self.keys.newest() {
            key.slots().map_err(|e| format!("key: {e}"))?;
        }
        self.store = Store::Redlock {
            group,
            names,
            fallback: *fallback,
        };
        Ok(())
    }

    pub fn for_zone(&self) -> PoolConfig {
        let keys = self.keys.newest();
        PoolConfig {
            name: self.name.clone(),
            balance: self.balance,
            queue: self.queue,
            policy: self.policy,
            keys: keys.iter().map(|key| key.for_zone()).collect(),
        }
    }
}

/// The directives of a block, each of which may stand once but for `key`.
#[derive(Default)]
struct Said {
    keys: KeyList,
    sources: Vec<Source>,
    /// Whether there is a `key` line.
    has_key: bool,
    balance: Option<Balance>,
    ttl_ms: Option<u64>,
    wait_ms: Option<u64>,
    queue: Option<u32>,
    store: Option<Store>,
    policy: policy::Said,
}

pub struct PoolBlock;

impl Directive for PoolBlock {
    type Target = Main;
    const NAME: &'static CStr = c"openai_pool";
    const SCOPE: Scope = Scope::Http;
    const ARGS: Args = Args::NamedBlock;

    fn read(conf: &mut Conf, main: &mut Main) -> Result<(), Option<String>> {
        let name = argument(conf)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let is_name = !name.is_empty() && name.chars().all(plain);
        if !is_name || name == "off" || begins_like_a_key(&name) {
            return Err(Some(format!("invalid name \"{name}\"")));
        }
        if name.len() > MAX_POOL_NAME {
            return Err(Some(format!(
                "\"{name}\" is longer than {MAX_POOL_NAME} bytes"
            )));
        }
        if main.pool_named(&name).is_some() {
            return Err(Some(format!("\"{name}\" is a duplicate")));
        }
        let mut said = Said::default();
        let read = |conf: &Conf, line: Block<'_>| {
            read_line(conf, line.words, &mut said)
                .map_err(|e| format!("openai_pool \"{name}\": {e}"))
        };
        conf.block(read).map_err(|()| None)?;
        if !said.has_key {
            return Err(Some(format!("\"{name}\" has no \"key\"")));
        }
        if said.keys.keys().is_empty() && !conf.only_signals() {
            return Err(Some(format!(
                "\"{name}\" has no keys: its sources are all empty"
            )));
        }
        main.pools.push(said.into_pool(name));
        Ok(())
    }
}

impl Said {
    fn into_pool(self, name: String) -> Pool {
        let keys = self.keys.into_keys().into_iter();
        let keys = keys.map(|key| Rc::new(PoolKey::new(key))).collect();
        Pool {
            name,
            keys: Rc::new(KeyTable::new(keys)),
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

fn read_line(conf: &Conf, words: &[&str], said: &mut Said) -> ConfResult {
    let [name, values @ ..] = words else {
        return Ok(());
    };
    if *name == "key" {
        said.has_key = true;
        return read_key(conf, values, said).map_err(|e| format!("key: {e}"));
    }
    if *name == "store" {
        return values::once(&mut said.store, store(values)).map_err(|e| format!("store: {e}"));
    }
    if let Some(read) = said.policy.read(name, values) {
        return read.map_err(|e| format!("{name}: {e}"));
    }
    let [value] = values else {
        return Err(match *name {
            "balance" | "lease_ttl" | "wait" | "queue" => {
                format!("{name}: takes one argument")
            }
            _ => format!("unknown directive \"{name}\""),
        });
    };
    match *name {
        "balance" => values::once(&mut said.balance, balance(value)),
        "lease_ttl" => values::once(&mut said.ttl_ms, ttl(value)),
        "wait" => values::once(&mut said.wait_ms, values::time_ms(value)),
        "queue" => values::once(&mut said.queue, queue(value)),
        _ => return Err(format!("unknown directive \"{name}\"")),
    }
    .map_err(|e| format!("{name}: {e}"))
}

fn read_key(conf: &Conf, parameters: &[&str], said: &mut Said) -> ConfResult {
    let source = Source::parse(conf, parameters)?;
    if !conf.only_signals() {
        let secret = source.file().map(|_| source::secret(conf));
        source.add_to(&mut said.keys, &secret.unwrap_or_default())?;
        said.sources.push(source);
    }
    Ok(())
}

fn store(values: &[&str]) -> ConfResult<Store> {
    let (group, fallback) = match *values {
        ["shm"] => return Ok(Store::Shm),
        ["shm", ..] => return Err("shm takes no parameter".into()),
        [group] => (group, false),
        [group, "fallback=shm"] => (group, true),
        [_, parameter] => return Err(format!("invalid parameter \"{parameter}\"")),
        _ => return Err("takes one or two arguments".into()),
    };
    let group = group.to_string();
    Ok(Store::Named { group, fallback })
}

fn balance(value: &str) -> ConfResult<Balance> {
    match value {
        "round_robin" => Ok(Balance::RoundRobin),
        "weighted" => Ok(Balance::Weighted),
        "least_busy" => Ok(Balance::LeastBusy),
        "random" => Ok(Balance::Random),
        _ => Err(format!(
            "invalid value \"{value}\", it must be \"round_robin\", \"weighted\", \"least_busy\" or \"random\""
        )),
    }
}

fn ttl(value: &str) -> ConfResult<u64> {
    match values::time_ms(value)? {
        ms @ 100..=86_400_000 => Ok(ms),
        _ => Err(format!(
            "\"{value}\" is out of range, it must be from 100ms to 1d"
        )),
    }
}

fn queue(value: &str) -> ConfResult<u32> {
    let waiters = value.parse::<u32>().ok().filter(|n| *n <= 1_000_000);
    waiters.ok_or_else(|| format!("invalid value \"{value}\", it must be from 0 to 1000000"))
}

//! `openai_pool`: a named pool of API keys.

use std::ffi::CStr;
use std::rc::Rc;

use openai_core::keys::{Fingerprint, KeyDirective, KeyList, KeySource};
use openai_core::lease::{Balance, KeyConfig, KeyPolicy, MAX_POOL_NAME, PoolConfig};
use openai_core::redlock::{PoolNames, Slot};
use zeroize::Zeroizing;

use super::{Main, RedlockGroup, policy, source, values};
use crate::ffi::{Args, Block, Conf, ConfResult, Directive, Scope, argument};

/// A key of a pool.
pub struct PoolKey {
    pub id: String,
    pub fingerprint: Fingerprint,
    /// The value of the `Authorization` header that goes upstream.
    pub authorization: Rc<Zeroizing<Vec<u8>>>,
    pub slots: u32,
    weight: u32,
}

/// A pool of keys, as its block states it.
pub struct Pool {
    pub name: String,
    pub keys: Vec<PoolKey>,
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
        /// For each key, its slots by ordinal, as the nodes know them.
        slots: Vec<Vec<Slot>>,
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
        let slots_of = |key: &PoolKey| {
            (0..key.slots)
                .map(|ordinal| Slot::new(&key.id, ordinal))
                .collect::<Result<Vec<_>, _>>()
        };
        let slots = self
            .keys
            .iter()
            .map(slots_of)
            .collect::<Result<Vec<_>, _>>();
        let slots = slots.map_err(|e| format!("key: {e}"))?;
        self.store = Store::Redlock {
            group,
            names,
            slots,
            fallback: *fallback,
        };
        Ok(())
    }

    pub fn for_zone(&self) -> PoolConfig {
        let keys = self.keys.iter().map(|key| KeyConfig {
            fingerprint: *key.fingerprint.as_bytes(),
            weight: key.weight,
            slots: key.slots,
        });
        PoolConfig {
            name: self.name.clone(),
            balance: self.balance,
            queue: self.queue,
            policy: self.policy,
            keys: keys.collect(),
        }
    }
}

/// The directives of a block, each of which may stand once but for `key`.
#[derive(Default)]
struct Said {
    keys: KeyList,
    sources: usize,
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
        if name.is_empty() || name == "off" || !name.chars().all(plain) {
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
        if said.sources == 0 {
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
        let keys = self.keys.into_keys().into_iter().map(|key| PoolKey {
            authorization: bearer(key.secret.expose()),
            id: key.id,
            fingerprint: key.fingerprint,
            slots: key.slots.into(),
            weight: key.weight.into(),
        });
        Pool {
            name,
            keys: keys.collect(),
            balance: self.balance.unwrap_or_default(),
            ttl_ms: self.ttl_ms.unwrap_or(30_000),
            wait_ms: self.wait_ms.unwrap_or(30_000),
            queue: self.queue.unwrap_or(1_000),
            store: self.store.unwrap_or(Store::Shm),
            policy: self.policy.into_policy(),
        }
    }
}

fn bearer(key: &str) -> Rc<Zeroizing<Vec<u8>>> {
    let mut value = Zeroizing::new(Vec::with_capacity(7 + key.len()));
    value.extend_from_slice(b"Bearer ");
    value.extend_from_slice(key.as_bytes());
    Rc::new(value)
}

fn read_line(conf: &Conf, words: &[&str], said: &mut Said) -> ConfResult {
    let [name, values @ ..] = words else {
        return Ok(());
    };
    if *name == "key" {
        said.sources += 1;
        return read_key(conf, values, &mut said.keys).map_err(|e| format!("key: {e}"));
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

fn read_key(conf: &Conf, parameters: &[&str], keys: &mut KeyList) -> ConfResult {
    let directive = KeyDirective::parse(parameters).map_err(|e| e.to_string())?;
    if conf.only_signals() {
        return Ok(());
    }
    let text = match &directive.source {
        KeySource::Env(name) => source::environment(conf, name),
        KeySource::File(path) => source::file(conf, path, directive.optional)?,
        KeySource::Literal(key) => Zeroizing::new(key.expose().to_string()),
    };
    keys.add(&directive, &text).map_err(|e| e.to_string())
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

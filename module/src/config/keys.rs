//! The keys of a pool, and where they come from.

use std::cell::RefCell;
use std::rc::Rc;

use nginx_safe::{Conf, ConfResult};
use openai_core::keys::{Fingerprint, KeyDirective, KeyList, KeySource, KeySpec};
use openai_core::lease::KeyConfig;
use openai_core::redlock::{NameError, Slot};
use rustc_hash::FxHashMap;
use zeroize::Zeroizing;

use super::source::{self, Stamp};

/// A key of a pool.
pub struct PoolKey {
    pub id: String,
    pub fingerprint: Fingerprint,
    /// The value of the `Authorization` header that goes upstream.
    pub authorization: Rc<Zeroizing<Vec<u8>>>,
    pub slots: u32,
    pub weight: u32,
    line: u64,
}

impl PoolKey {
    pub fn new(key: KeySpec) -> Self {
        Self {
            authorization: bearer(key.secret.expose()),
            id: key.id,
            fingerprint: key.fingerprint,
            slots: key.slots.into(),
            weight: key.weight.into(),
            line: key.line,
        }
    }

    /// Whether nothing about the key has changed.
    pub fn is_same(&self, other: &Self) -> bool {
        let all = |key: &Self| (key.fingerprint, key.slots, key.weight, key.line);
        self.id == other.id && all(self) == all(other)
    }

    pub fn for_zone(&self) -> KeyConfig {
        KeyConfig {
            fingerprint: *self.fingerprint.as_bytes(),
            weight: self.weight,
            slots: self.slots,
            line: self.line,
        }
    }

    /// Its slots by ordinal, as Redlock nodes know them.
    pub fn slots(&self) -> Result<Vec<Slot>, NameError> {
        let slots = (0..self.slots).map(|ordinal| Slot::new(&self.id, ordinal));
        slots.collect()
    }
}

fn bearer(key: &str) -> Rc<Zeroizing<Vec<u8>>> {
    let mut value = Zeroizing::new(Vec::with_capacity(7 + key.len()));
    value.extend_from_slice(b"Bearer ");
    value.extend_from_slice(key.as_bytes());
    Rc::new(value)
}

/// The keys of a pool, which may change while requests have some of them.
#[derive(Default)]
pub struct KeyTable {
    /// The newest, in the order of their sources.
    newest: RefCell<Vec<Rc<PoolKey>>>,
    /// By their indexes in the zone; with those that are gone, but not free yet.
    indexed: RefCell<FxHashMap<u32, Rc<PoolKey>>>,
}

impl KeyTable {
    pub fn new(keys: Vec<Rc<PoolKey>>) -> Self {
        Self {
            newest: RefCell::new(keys),
            indexed: RefCell::default(),
        }
    }

    /// The newest keys.
    pub fn newest(&self) -> Vec<Rc<PoolKey>> {
        self.newest.borrow().clone()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.newest.borrow().len()
    }

    /// A key by its index in the zone.
    pub fn get(&self, index: u32) -> Option<Rc<PoolKey>> {
        self.indexed.borrow().get(&index).cloned()
    }

    /// All keys with their indexes in the zone.
    pub fn indexed(&self) -> Vec<(u32, Rc<PoolKey>)> {
        let indexed = self.indexed.borrow();
        let keys = indexed.iter().map(|(&index, key)| (index, Rc::clone(key)));
        keys.collect()
    }

    /// Forgets keys that are gone.
    pub fn retain(&self, mut is_there: impl FnMut(u32) -> bool) {
        self.indexed
            .borrow_mut()
            .retain(|&index, _| is_there(index));
    }

    /// Puts newer keys in the place of the newest, with their indexes in the zone.
    pub fn replace(&self, keys: Vec<Rc<PoolKey>>, indexes: &[u32]) {
        let mut indexed = self.indexed.borrow_mut();
        let new = indexes.iter().copied().zip(keys.iter().cloned());
        indexed.extend(new);
        *self.newest.borrow_mut() = keys;
    }
}

/// A `key` line, with what is needed to read it again.
pub struct Source {
    directive: KeyDirective,
    from: From,
}

enum From {
    /// What cannot change while nginx runs.
    Text(Zeroizing<String>),
    File {
        path: String,
        read: Option<Stamp>,
    },
}

impl Source {
    pub fn parse(conf: &Conf, parameters: &[&str]) -> ConfResult<Self> {
        let directive = KeyDirective::parse(parameters).map_err(|e| e.to_string())?;
        let from = match &directive.source {
            KeySource::Env(name) => From::Text(source::environment(conf, name)),
            KeySource::Literal(key) => From::Text(Zeroizing::new(key.expose().to_owned())),
            KeySource::File(path) => {
                let path = conf.full_path(path)?;
                let read = Stamp::of(&path);
                From::File { path, read }
            }
        };
        Ok(Self { directive, from })
    }

    /// Adds its keys; `secret` is the value of `ENCRYPTION_KEY`.
    pub fn add_to(&self, keys: &mut KeyList, secret: &str) -> ConfResult {
        let read;
        let text = match &self.from {
            From::Text(text) => text,
            From::File { path, .. } => {
                read = source::read(path, self.directive.optional, secret)
                    .map_err(|e| format!("{}: {e}", self.directive.source))?;
                &read
            }
        };
        keys.add(&self.directive, text).map_err(|e| e.to_string())
    }

    /// The path of its file, and what that was like before it was read.
    pub fn file(&self) -> Option<(&str, Option<Stamp>)> {
        match &self.from {
            From::Text(_) => None,
            From::File { path, read } => Some((path, *read)),
        }
    }
}

/// Where the keys of all pools come from.
pub struct Sources {
    pub pools: Vec<(String, Vec<Source>)>,
    /// The value of `ENCRYPTION_KEY`.
    pub secret: Zeroizing<String>,
}

impl Sources {
    pub fn files(&self) -> impl Iterator<Item = (&str, Option<Stamp>)> {
        let sources = self.pools.iter().flat_map(|(_, sources)| sources);
        sources.filter_map(Source::file)
    }

    /// What the files are like now.
    pub fn stamps(&self) -> Vec<Option<Stamp>> {
        self.files().map(|(path, _)| Stamp::of(path)).collect()
    }

    /// Reads the keys of each pool.
    pub fn read(&self) -> ConfResult<Vec<Vec<KeySpec>>> {
        let pools = self.pools.iter().map(|(name, sources)| {
            let mut keys = KeyList::default();
            for source in sources {
                source
                    .add_to(&mut keys, &self.secret)
                    .map_err(|e| format!("openai_pool \"{name}\": key: {e}"))?;
            }
            if keys.keys().is_empty() {
                return Err(format!(
                    "openai_pool \"{name}\" has no keys: its sources are all empty"
                ));
            }
            Ok(keys.into_keys())
        });
        pools.collect()
    }
}

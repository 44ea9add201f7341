//! The keys of a pool, and where they come from.

use std::rc::Rc;

use nginx_safe::{Conf, ConfResult};
use openai_core::keys::{Fingerprint, KeyDirective, KeyList, KeySpec, SecretSource};
use openai_core::lease::{KeyConfig, id_hash};
use openai_core::redlock::{NameError, Slot};
use zeroize::Zeroizing;

use super::pool;
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

    /// The key as the zone knows it; `is_locked` if its id names locks on nodes.
    pub fn for_zone(&self, is_locked: bool) -> KeyConfig {
        KeyConfig {
            fingerprint: *self.fingerprint.as_bytes(),
            weight: self.weight,
            slots: self.slots,
            line: self.line,
            id: if is_locked { id_hash(&self.id) } else { 0 },
        }
    }

    /// Its slots by ordinal, with their names on Redlock nodes.
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

/// A `key` line, with what is needed to read it again.
pub struct KeyLine {
    directive: KeyDirective,
    /// Text of an environment variable or literal, which cannot change while nginx runs.
    text: Zeroizing<String>,
    /// Full path of a file, and its stamp from before it was read.
    file: Option<(String, Option<Stamp>)>,
}

impl KeyLine {
    pub fn parse(conf: &Conf, parameters: &[&str]) -> ConfResult<Self> {
        let directive = KeyDirective::parse(parameters).map_err(|e| e.to_string())?;
        let (mut text, mut file) = (Zeroizing::default(), None);
        match &directive.source {
            SecretSource::File(path) => {
                let path = conf.full_path(path)?;
                let stamp = Stamp::of(&path);
                file = Some((path, stamp));
            }
            source => text = source::text(conf, source, directive.optional)?,
        }
        Ok(Self {
            directive,
            text,
            file,
        })
    }

    pub fn source(&self) -> &SecretSource {
        &self.directive.source
    }

    /// Adds the keys of this line to `keys`; `secret` is the value of `ENCRYPTION_KEY`.
    pub fn add_to(&self, keys: &mut KeyList, secret: &str) -> ConfResult {
        let read;
        let mut text = &self.text;
        if let Some((path, _)) = &self.file {
            read = source::read(path, self.directive.optional, secret)
                .map_err(|e| format!("{}: {e}", self.directive.source))?;
            text = &read;
        }
        keys.add(&self.directive, text).map_err(|e| e.to_string())
    }

    /// The path of its file, and the file's stamp from before it was read.
    pub fn file(&self) -> Option<(&str, Option<Stamp>)> {
        let (path, stamp) = self.file.as_ref()?;
        Some((path, *stamp))
    }
}

/// Where the keys of all pools come from.
pub struct Sources {
    pub pools: Vec<(String, Vec<KeyLine>)>,
    /// The value of `ENCRYPTION_KEY`.
    pub secret: Zeroizing<String>,
}

impl Sources {
    pub fn files(&self) -> impl Iterator<Item = (&str, Option<Stamp>)> {
        let sources = self.pools.iter().flat_map(|(_, sources)| sources);
        sources.filter_map(KeyLine::file)
    }

    /// Current stamps of the files.
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
                return Err(format!("openai_pool: {}", pool::no_keys(name)));
            }
            Ok(keys.into_keys())
        });
        pools.collect()
    }
}

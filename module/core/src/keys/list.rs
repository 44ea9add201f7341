//! The keys of one pool, from all its sources.

use std::collections::HashMap;

use super::options::{id, is_option};
use super::source::is_key;
use super::{Fingerprint, KeyDirective, KeyError, KeyOptions, KeySpec, Secret, SecretSource};

/// A pool's keys while they are collected. Keys and ids are unique.
#[derive(Debug, Default)]
pub struct KeyList {
    keys: Vec<KeySpec>,
    /// Locations of the keys for error messages, in the order of `keys`.
    places: Vec<String>,
    by_fingerprint: HashMap<Fingerprint, usize>,
    by_id: HashMap<String, usize>,
}

/// A key of a source.
struct Entry<'a> {
    key: &'a str,
    options: KeyOptions,
    /// The options as written.
    text: String,
    place: String,
}

impl KeyList {
    /// Adds the keys of a directive. `text` is the content of its source: the value of the
    /// variable, the content of the file (empty if there is none), or the literal key.
    ///
    /// An id for several keys gets their numbers as suffix: `id-1`, `id-2`, … A key without an id
    /// is named `k-` and the first 8 hexadecimal digits of its SHA-256, or 16 if that name is
    /// taken.
    ///
    /// # Errors
    /// When the source has no key and is not optional, contains something other than keys, or has
    /// a key or an id that is already in the list.
    pub fn add(&mut self, directive: &KeyDirective, text: &str) -> Result<(), KeyError> {
        let entries = entries(&directive.source, text);
        let entries = entries.into_iter().collect::<Result<Vec<_>, _>>()?;
        if entries.is_empty() && !directive.optional {
            return Err(empty(directive));
        }
        let several = entries.len() > 1;
        for (number, entry) in (1..).zip(&entries) {
            self.add_entry(directive, entry, several.then_some(number))?;
        }
        Ok(())
    }

    /// Like [`KeyList::add`], but continues after an error. Returns all errors.
    pub fn add_sound(&mut self, directive: &KeyDirective, text: &str) -> Vec<KeyError> {
        let entries = entries(&directive.source, text);
        if entries.is_empty() && !directive.optional {
            return vec![empty(directive)];
        }
        let several = entries.len() > 1;
        let added = (1..)
            .zip(entries)
            .map(|(number, entry)| self.add_entry(directive, &entry?, several.then_some(number)));
        added.filter_map(Result::err).collect()
    }

    /// Adds a key. `number` is its position if the directive has several keys.
    fn add_entry(
        &mut self,
        directive: &KeyDirective,
        entry: &Entry<'_>,
        number: Option<usize>,
    ) -> Result<(), KeyError> {
        let id = match (&entry.options.id, &directive.options.id, number) {
            (Some(own), ..) => Some(own.clone()),
            (None, Some(shared), Some(number)) => Some(id(&format!("{shared}-{number}"))?),
            (None, shared, _) => shared.clone(),
        };
        self.push(entry, id, directive)
    }

    /// The keys so far, in the order of the configuration.
    #[must_use]
    pub fn keys(&self) -> &[KeySpec] {
        &self.keys
    }

    /// The keys from an index on, each with its location.
    pub fn since(&self, first: usize) -> impl Iterator<Item = (&KeySpec, &str)> {
        let places = self.places.iter().map(String::as_str);
        self.keys.iter().zip(places).skip(first)
    }

    /// Returns the keys, in the order of the configuration.
    #[must_use]
    pub fn into_keys(self) -> Vec<KeySpec> {
        self.keys
    }

    fn push(
        &mut self,
        entry: &Entry<'_>,
        id: Option<String>,
        directive: &KeyDirective,
    ) -> Result<(), KeyError> {
        let shared = &directive.options;
        let fingerprint = Fingerprint::of(entry.key.as_bytes());
        let id = id.unwrap_or_else(|| self.default_id(fingerprint));
        let place = entry.place.clone();
        if let Some(&first) = self.by_fingerprint.get(&fingerprint) {
            return Err(KeyError::SameKey {
                place,
                first: self.keys[first].id.clone(),
                second: id,
                other: self.places[first].clone(),
            });
        }
        if let Some(&first) = self.by_id.get(&id) {
            let other = self.places[first].clone();
            return Err(KeyError::SameId { place, id, other });
        }
        self.by_fingerprint.insert(fingerprint, self.keys.len());
        self.by_id.insert(id.clone(), self.keys.len());
        self.places.push(place);
        self.keys.push(KeySpec {
            secret: Secret::new(entry.key),
            id,
            fingerprint,
            slots: entry.options.slots.or(shared.slots).map_or(1, Into::into),
            weight: entry.options.weight.or(shared.weight).map_or(1, Into::into),
            line: line(directive, &entry.text),
        });
        Ok(())
    }

    fn default_id(&self, fingerprint: Fingerprint) -> String {
        let id = format!("k-{fingerprint:.8}");
        let taken = self.by_id.contains_key(&id) && !self.by_fingerprint.contains_key(&fingerprint);
        if taken {
            format!("k-{fingerprint:.16}")
        } else {
            id
        }
    }
}

/// Hash of a key's configuration, without the key: source and options of its directive, and the
/// options on its line of a file.
fn line(directive: &KeyDirective, own: &str) -> u64 {
    let text = format!("{}\n{}\n{own}", directive.source, directive.text);
    let [a, b, c, d, e, f, g, h, ..] = *Fingerprint::of(text.as_bytes()).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn entries<'a>(source: &SecretSource, text: &'a str) -> Vec<Result<Entry<'a>, KeyError>> {
    match source {
        SecretSource::Env(_) => env_entries(source, text),
        SecretSource::File(_) => file_entries(source, text),
        SecretSource::Literal(_) => vec![entry(text, || source.to_string())],
    }
}

fn empty(directive: &KeyDirective) -> KeyError {
    KeyError::Empty(directive.source.to_string())
}

fn env_entries<'a>(source: &SecretSource, text: &'a str) -> Vec<Result<Entry<'a>, KeyError>> {
    let keys = text
        .split(',')
        .map(str::trim)
        .enumerate()
        .filter(|(_, key)| !key.is_empty());
    keys.map(|(index, key)| entry(key, || format!("{source}, item {}", index + 1)))
        .collect()
}

fn file_entries<'a>(source: &SecretSource, text: &'a str) -> Vec<Result<Entry<'a>, KeyError>> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let lines = text.lines().enumerate().filter_map(|(index, line)| {
        let mut words = line
            .split_whitespace()
            .take_while(|word| !word.starts_with('#'));
        let key = words.next()?;
        Some(line_entry(key, words, || {
            format!("{source}, line {}", index + 1)
        }))
    });
    lines.collect()
}

fn line_entry<'a>(
    key: &'a str,
    options: impl Iterator<Item = &'a str>,
    place: impl Fn() -> String,
) -> Result<Entry<'a>, KeyError> {
    let mut entry = entry(key, &place)?;
    let options: Vec<_> = options.collect();
    entry.text = options.join(" ");
    let options = KeyOptions::of_line(&options);
    entry.options = options.map_err(|error| KeyError::LineOption {
        place: place(),
        error,
    })?;
    Ok(entry)
}

fn entry(key: &str, place: impl Fn() -> String) -> Result<Entry<'_>, KeyError> {
    if !is_key(key) || is_option(key) {
        return Err(KeyError::Invalid(place()));
    }
    Ok(Entry {
        key,
        options: KeyOptions::default(),
        text: String::new(),
        place: place(),
    })
}

//! Scenarios as documents, in TOML or JSON.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::keys::KeyRule;
use crate::rule::Rule;
use crate::scenario::Scenario;
use crate::settings::{Set, SettingError, Settings};
use crate::stats::KeyName;

impl<'de> Deserialize<'de> for Scenario {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut scenario = Self::new();
        Patch(&mut scenario).deserialize(deserializer)?;
        Ok(scenario)
    }
}

/// Reads a document into a scenario.
pub(super) struct Patch<'a>(pub(super) &'a mut Scenario);

impl<'de> DeserializeSeed<'de> for Patch<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Patch<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings, [[fault]] and [[key]] tables")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "fault" => self.0.rules.extend(map.next_value::<Vec<Rule>>()?),
                "key" => {
                    for entry in map.next_value::<Vec<KeyEntry>>()? {
                        let missing = || A::Error::custom("a key has no token");
                        self.0
                            .keys
                            .push((entry.name.ok_or_else(missing)?, entry.rule));
                    }
                }
                name => map.next_value_seed(Set {
                    target: &mut *self.0,
                    name,
                })?,
            }
        }
        Ok(())
    }
}

/// A `[[key]]` table.
#[derive(Default)]
pub(super) struct KeyEntry {
    pub(super) name: Option<KeyName>,
    pub(super) rule: KeyRule,
}

impl Settings for KeyEntry {
    fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        if name == "token" {
            self.name = Some(KeyName::read(value));
            return Ok(());
        }
        match self.rule.set(name, value) {
            Err(error) if error.is_unknown() => {
                let names = KeyRule::SETTINGS.iter().map(|(name, _)| *name);
                Err(SettingError::unknown(
                    name,
                    ["token"].into_iter().chain(names),
                ))
            }
            other => other,
        }
    }
}

impl<'de> Deserialize<'de> for KeyEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;

        impl<'de> Visitor<'de> for Entry {
            type Value = KeyEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table with a token")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeyEntry, A::Error> {
                let mut entry = KeyEntry::default();
                while let Some(name) = map.next_key::<String>()? {
                    map.next_value_seed(Set {
                        target: &mut entry,
                        name: &name,
                    })?;
                }
                Ok(entry)
            }
        }

        deserializer.deserialize_map(Entry)
    }
}

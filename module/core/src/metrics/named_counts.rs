//! Records of counts in snapshots: JSON objects of named numbers, without zeros.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::histogram::{BOUNDS, Histogram};
use super::http::{STATUSES, status_names};
use super::record::{OUTCOMES, Outcome};
use super::row::Counters;
use super::words::{words, words_mut};

/// A record whose words have names.
pub(super) trait NamedCounts: Pod {
    /// The names, in the order of the words.
    fn names() -> &'static [String];
}

impl NamedCounts for Counters {
    fn names() -> &'static [String] {
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
            let first = "attempts prompt completion cost wait_ms hold_ms".split(' ');
            let last = "retries cached reasoning estimated unpriced failed_locks".split(' ');
            let names = first.chain(OUTCOMES.map(Outcome::as_str)).chain(last);
            names.map(str::to_owned).collect()
        });
        &NAMES
    }
}

impl NamedCounts for Histogram {
    fn names() -> &'static [String] {
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
            let bounds = BOUNDS.iter().map(|bound| format!("le_{bound}_ms"));
            bounds
                .chain(["over", "sum_ms"].map(str::to_owned))
                .collect()
        });
        &NAMES
    }
}

impl NamedCounts for [u64; STATUSES.len()] {
    fn names() -> &'static [String] {
        status_names()
    }
}

pub(super) fn serialize<T: NamedCounts, S: Serializer>(
    record: &T,
    to: S,
) -> Result<S::Ok, S::Error> {
    let named = T::names().iter().zip(words(record));
    to.collect_map(named.filter(|(_, word)| **word > 0))
}

pub(super) fn deserialize<'de, T: NamedCounts, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    let saved = HashMap::<String, u64>::deserialize(from)?;
    let mut record = T::zeroed();
    for (name, word) in T::names().iter().zip(words_mut(&mut record)) {
        *word = saved.get(name).copied().unwrap_or_default();
    }
    Ok(record)
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        serialize(self, to)
    }
}

impl<'de> Deserialize<'de> for Counters {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        deserialize(from)
    }
}

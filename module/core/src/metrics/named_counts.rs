//! Conversion between counters and named numbers, for snapshots.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytemuck::{Pod, Zeroable};

use super::histogram::{BOUNDS, Histogram};
use super::http::{STATUSES, status_of};
use super::record::{OUTCOMES, Outcome};
use super::row::Times;
use super::words::{add, words, words_mut};

/// Numbers by name, without zeros.
pub(super) type NamedCounts = BTreeMap<Cow<'static, str>, u64>;

/// Names of the words of [`Counters`], in order.
pub(super) static COUNTERS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let first = [
        "attempts",
        "prompt",
        "completion",
        "cost",
        "wait_ms",
        "hold_ms",
    ];
    let last = [
        "retries",
        "cached",
        "reasoning",
        "estimated",
        "unpriced",
        "failed_locks",
    ];
    let outcomes = OUTCOMES.map(Outcome::as_str);
    [&first[..], &outcomes, &last]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
});

/// Names of the words of [`Histogram`].
pub(super) static HISTOGRAM: LazyLock<Vec<String>> = LazyLock::new(|| {
    let bounds = BOUNDS.iter().map(|bound| format!("le_{bound}_ms"));
    let rest = ["over", "sum_ms"].map(str::to_owned);
    bounds.chain(rest).collect()
});

/// Names of the statuses of a [`Cell`].
pub(super) static STATUS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = (0..STATUSES.len()).map(status_of);
    names.map(str::to_owned).collect()
});

pub(super) fn to_named<T: Pod>(names: &'static [String], record: &T) -> NamedCounts {
    let named = names
        .iter()
        .zip(words(record))
        .filter(|(_, word)| **word > 0);
    named
        .map(|(name, word)| (Cow::Borrowed(name.as_str()), *word))
        .collect()
}

pub(super) fn from_named<T: Pod + Zeroable>(names: &[String], saved: &NamedCounts) -> T {
    let mut record = T::zeroed();
    for (name, word) in names.iter().zip(words_mut(&mut record)) {
        *word = saved.get(name.as_str()).copied().unwrap_or_default();
    }
    record
}

pub(super) fn named_times(times: &Times) -> BTreeMap<String, NamedCounts> {
    let mut times = *times;
    let named = times.each().into_iter();
    named
        .map(|(name, histogram)| (name.to_owned(), to_named(&HISTOGRAM, histogram)))
        .filter(|(_, words)| !words.is_empty())
        .collect()
}

pub(super) fn add_times(times: &mut Times, saved: &BTreeMap<String, NamedCounts>) {
    for (name, histogram) in times.each() {
        if let Some(words) = saved.get(name) {
            add(histogram, &from_named::<Histogram>(&HISTOGRAM, words));
        }
    }
}

//! Conversion between counters and named numbers, for snapshots.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytemuck::{Pod, Zeroable};

use super::histogram::{BOUNDS, Histogram};
use super::http::{STATUSES, status_of};
use super::record::OUTCOMES;
use super::row::{Counters, Times};

/// Numbers by name, without zeros.
pub(super) type NamedCounts = BTreeMap<Cow<'static, str>, u64>;

/// Names of the words of [`Counters`], in order.
pub(super) static COUNTERS: LazyLock<Vec<String>> = LazyLock::new(|| {
    const REST: [&str; 11] = [
        "attempts",
        "retries",
        "prompt",
        "completion",
        "cached",
        "reasoning",
        "estimated",
        "cost",
        "unpriced",
        "wait_ms",
        "hold_ms",
    ];
    const { assert!((OUTCOMES.len() + REST.len()) * 8 == size_of::<Counters>()) };
    let outcomes = OUTCOMES.iter().map(|outcome| outcome.as_str());
    outcomes.chain(REST).map(str::to_owned).collect()
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
    let words: &[u64] = bytemuck::cast_slice(bytemuck::bytes_of(record));
    let named = names.iter().zip(words).filter(|(_, word)| **word > 0);
    named
        .map(|(name, word)| (Cow::Borrowed(name.as_str()), *word))
        .collect()
}

pub(super) fn from_named<T: Pod + Zeroable>(names: &[String], saved: &NamedCounts) -> T {
    let mut record = T::zeroed();
    let words: &mut [u64] = bytemuck::cast_slice_mut(bytemuck::bytes_of_mut(&mut record));
    for (name, word) in names.iter().zip(words) {
        *word = saved.get(name.as_str()).copied().unwrap_or_default();
    }
    record
}

pub(super) fn add<T: Pod>(record: &mut T, more: &T) {
    let words: &mut [u64] = bytemuck::cast_slice_mut(bytemuck::bytes_of_mut(record));
    let more: &[u64] = bytemuck::cast_slice(bytemuck::bytes_of(more));
    for (word, more) in words.iter_mut().zip(more) {
        *word = word.saturating_add(*more);
    }
}

pub(super) fn named_times(times: &Times) -> BTreeMap<String, NamedCounts> {
    let Times {
        duration,
        wait,
        hold,
        first_token,
    } = times;
    let all = [
        ("duration", duration),
        ("wait", wait),
        ("hold", hold),
        ("first_token", first_token),
    ];
    let named = all.map(|(name, times)| (name.to_owned(), to_named(&HISTOGRAM, times)));
    named
        .into_iter()
        .filter(|(_, words)| !words.is_empty())
        .collect()
}

pub(super) fn add_times(times: &mut Times, saved: &BTreeMap<String, NamedCounts>) {
    for (name, histogram) in [
        ("duration", &mut times.duration),
        ("wait", &mut times.wait),
        ("hold", &mut times.hold),
        ("first_token", &mut times.first_token),
    ] {
        if let Some(words) = saved.get(name) {
            add(histogram, &from_named::<Histogram>(&HISTOGRAM, words));
        }
    }
}

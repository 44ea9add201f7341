//! Rows of shared stats, and how to merge them.

use core::fmt;
use std::sync::Arc;

/// Maximum number of sums, so that many rows fit into one answer.
const MOST_SUMS: usize = 64;
/// Maximum length of a row's name.
const MOST_NAME: usize = 160;

/// Identifies a machine's metrics zone: a random number that is stored with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance(pub u64);

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Identifies a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowId {
    /// The day, counted from 1970-01-01.
    pub day: u32,
    /// What is counted; each has one row per day.
    pub name: Arc<str>,
}

impl RowId {
    /// Sorts before all rows of a day.
    pub(super) fn first_of(day: u32) -> Self {
        let name = Arc::default();
        Self { day, name }
    }

    /// The name of an instance's row on the nodes.
    #[must_use]
    pub(super) fn field(&self, instance: Instance) -> String {
        format!("{}:{instance}:{}", self.day, self.name)
    }

    /// Parses the name of a row on the nodes.
    pub(super) fn of_field(field: &[u8]) -> Option<(Self, Instance)> {
        let mut parts = str::from_utf8(field).ok()?.splitn(3, ':');
        let (day, instance, name) = (parts.next()?, parts.next()?, parts.next()?);
        if instance.len() != 16 || name.len() > MOST_NAME {
            return None;
        }
        let instance = Instance(u64::from_str_radix(instance, 16).ok()?);
        let (day, name) = (day.parse().ok()?, name.into());
        Some((Self { day, name }, instance))
    }
}

/// The sums of a row. The sums of one instance only increase, so the higher of two values is the
/// newer one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowSums(Vec<u64>);

impl RowSums {
    /// The sums without trailing zeros; at most the first 64.
    #[must_use]
    pub fn new(sums: &[u64]) -> Self {
        let used = sums.iter().rposition(|&sum| sum > 0);
        let used = used.map_or(0, |last| last + 1).min(MOST_SUMS);
        Self(sums[..used].to_vec())
    }

    /// The sum at an index; 0 beyond the last.
    #[must_use]
    pub fn get(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or_default()
    }

    /// Takes the higher value of each sum; returns whether any increased.
    pub fn raise(&mut self, seen: &Self) -> bool {
        self.combine(seen, u64::max)
    }

    /// Adds the sums of another instance.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    fn combine(&mut self, other: &Self, of: impl Fn(u64, u64) -> u64) -> bool {
        let more = other.0.len().max(self.0.len());
        self.0.resize(more, 0);
        let mut changed = false;
        for (sum, &other) in self.0.iter_mut().zip(&other.0) {
            let new = of(*sum, other);
            changed |= new != *sum;
            *sum = new;
        }
        changed
    }

    /// Parses the format on the nodes: each sum followed by a comma, zero as an empty text.
    pub(super) fn of_text(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?.strip_suffix(',')?;
        let sum = |text: &str| match text {
            "" => Some(0),
            digits => digits.parse().ok(),
        };
        let sums: Option<Vec<_>> = text.split(',').take(MOST_SUMS).map(sum).collect();
        Some(Self::new(&sums?))
    }
}

impl fmt::Display for RowSums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &sum in &self.0 {
            if sum > 0 {
                write!(f, "{sum}")?;
            }
            f.write_str(",")?;
        }
        Ok(())
    }
}

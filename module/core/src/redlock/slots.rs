//! Slots of keys, and the candidates of an attempt.

use std::sync::Arc;

use super::names::{NameError, checked};

/// Maximum number of candidates of an attempt.
pub const MAX_CANDIDATES: usize = 16;

/// A slot of a key, locked by at most one client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    field: Arc<str>,
}

impl Slot {
    /// The slot number `ordinal` of the key with this id. Fails if the id is not a valid name.
    pub fn new(key: &str, ordinal: u32) -> Result<Self, NameError> {
        let field = format!("{}:{ordinal}", checked(key)?).into();
        Ok(Self { field })
    }

    /// `<key>:<ordinal>`: the name of the slot in Redis keys, sorted sets and notifications.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }
}

/// A subset of the candidates, by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotSet(u16);

impl SlotSet {
    /// Adds a candidate; returns whether the index is valid.
    pub fn insert(&mut self, index: usize) -> bool {
        let fits = index < MAX_CANDIDATES;
        if fits {
            self.0 |= 1 << index;
        }
        fits
    }

    /// Whether the candidate is one of them.
    #[must_use]
    pub fn contains(self, index: usize) -> bool {
        index < MAX_CANDIDATES && self.0 & (1 << index) != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The indexes, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_CANDIDATES).filter(move |&index| self.contains(index))
    }
}

impl FromIterator<usize> for SlotSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> Self {
        let mut set = Self::default();
        for index in indexes {
            set.insert(index);
        }
        set
    }
}

/// The slots of an attempt, in the order in which every node tries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates(Arc<[Slot]>);

impl Candidates {
    /// The slots in this order: 1 to [`MAX_CANDIDATES`], none of them repeated.
    #[must_use]
    pub fn in_order(slots: Vec<Slot>) -> Option<Self> {
        let twice = (1..slots.len()).any(|at| slots[..at].contains(&slots[at]));
        let fits = (1..=MAX_CANDIDATES).contains(&slots.len()) && !twice;
        fits.then(|| Self(slots.into()))
    }

    /// The slots, in order.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.0
    }
}

//! Slots of keys, and the candidates of an attempt.

use std::sync::Arc;

use thiserror::Error;

use super::names::{NameError, checked};

/// Maximum number of candidates of an attempt.
pub const MAX_CANDIDATES: usize = 16;

/// A slot of a key, held by at most one lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    field: Arc<str>,
}

impl Slot {
    /// The slot with this number of the key with this id.
    pub fn new(key: &str, ordinal: u32) -> Result<Self, NameError> {
        let field = format!("{}:{ordinal}", checked(key)?).into();
        Ok(Self { field })
    }

    /// `<key>:<slot>`, as used in hashes and notifications.
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

/// Why a list of candidates is invalid.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CandidatesError {
    /// The list is empty.
    #[error("no candidate")]
    None,
    /// More than [`MAX_CANDIDATES`].
    #[error("{0} candidates, the limit is {MAX_CANDIDATES}")]
    TooMany(usize),
    /// A slot is repeated.
    #[error("a candidate is repeated")]
    Twice,
}

/// The slots of an attempt, in the order in which every node tries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates(Arc<[Slot]>);

impl Candidates {
    /// Shuffles the slots. Attempts that start with the same slot would split the votes.
    pub fn shuffled(mut slots: Vec<Slot>, mut random: u64) -> Result<Self, CandidatesError> {
        for last in (1..slots.len()).rev() {
            // splitmix64, which is statistically sound for any seed.
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = random;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            slots.swap(last, (word % (last as u64 + 1)) as usize);
        }
        Self::in_order(slots)
    }

    /// Keeps the order.
    pub fn in_order(slots: Vec<Slot>) -> Result<Self, CandidatesError> {
        if slots.is_empty() {
            return Err(CandidatesError::None);
        }
        if slots.len() > MAX_CANDIDATES {
            return Err(CandidatesError::TooMany(slots.len()));
        }
        let twice = (1..slots.len()).any(|at| slots[..at].contains(&slots[at]));
        if twice {
            return Err(CandidatesError::Twice);
        }
        Ok(Self(slots.into()))
    }

    /// The slots, in order.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.0
    }
}

//! Slots of keys, and the candidates of one attempt.

use std::sync::Arc;

use thiserror::Error;

use super::names::{NameError, checked};

/// The most slots that one attempt may ask for.
pub const MAX_CANDIDATES: usize = 16;

/// A slot of a key: what one lease holds.
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

    /// `<key>:<slot>`, as it stands in hashes and wake-up messages.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }
}

/// Some of the candidates of an attempt, by their index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotSet(u16);

impl SlotSet {
    /// Adds a candidate; whether there can be one with this index.
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

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The indexes, rising.
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

/// A list that cannot be asked for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CandidatesError {
    /// There is no slot to ask for.
    #[error("no candidate")]
    None,
    /// A node looks at no more than [`MAX_CANDIDATES`].
    #[error("{0} candidates, at most {MAX_CANDIDATES} may be asked for")]
    TooMany(usize),
    /// One slot stands twice.
    #[error("a candidate stands twice")]
    Twice,
}

/// The slots that one attempt asks for, in the order that every node tries them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates(Arc<[Slot]>);

impl Candidates {
    /// Shuffles the slots: attempts that start with the same slot split the votes.
    pub fn shuffled(mut slots: Vec<Slot>, mut random: u64) -> Result<Self, CandidatesError> {
        for last in (1..slots.len()).rev() {
            // splitmix64: statistically sound for any seed.
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

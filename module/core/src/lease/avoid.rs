//! Keys that a request has already tried.

use bytemuck::{Pod, Zeroable};

/// Number of keys that are remembered; the last ones if there are more.
pub const MAX_AVOIDED: usize = 16;

/// Keys that a request has tried, by their indexes in the zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Avoid {
    keys: [u32; MAX_AVOIDED],
    /// Number of keys added, including those no longer remembered.
    noted: u32,
    strict: u32,
}

impl Avoid {
    /// Adds a key.
    pub fn push(&mut self, key: u32) {
        if !self.contains(key) {
            self.keys[self.noted as usize % MAX_AVOIDED] = key;
            self.noted = self.noted.saturating_add(1);
        }
    }

    /// Sets whether the request must not get one of these keys. Otherwise it gets one if no other
    /// is free, or when its turn in the queue comes.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict.into();
        self
    }

    /// Whether no key has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.noted == 0
    }

    /// Whether the key has been added and is remembered.
    #[must_use]
    pub fn contains(&self, key: u32) -> bool {
        let noted = (self.noted as usize).min(MAX_AVOIDED);
        self.keys[..noted].contains(&key)
    }

    /// Whether the request must not get the key.
    pub(crate) fn forbids(&self, key: u32) -> bool {
        self.strict != 0 && self.contains(key)
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.strict != 0
    }
}

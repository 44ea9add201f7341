//! Keys that a request would rather not have: it has tried them.

use bytemuck::{Pod, Zeroable};

/// How many keys a request remembers; of more, the last ones.
pub const MAX_AVOIDED: usize = 16;

/// The keys that a request has tried, by their indexes in the zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Avoid {
    keys: [u32; MAX_AVOIDED],
    /// How many have been noted, forgotten ones included.
    noted: u32,
    strict: u32,
}

impl Avoid {
    /// Notes one more key.
    pub fn push(&mut self, key: u32) {
        if !self.contains(key) {
            self.keys[self.noted as usize % MAX_AVOIDED] = key;
            self.noted = self.noted.saturating_add(1);
        }
    }

    /// The same keys; with `strict` the request goes without a key rather than
    /// have one of them. Otherwise it has one if no other is free, or when its turn
    /// comes in the queue.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict.into();
        self
    }

    /// Whether none has been noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.noted == 0
    }

    /// Whether the key is one of them.
    #[must_use]
    pub fn contains(&self, key: u32) -> bool {
        let noted = (self.noted as usize).min(MAX_AVOIDED);
        self.keys[..noted].contains(&key)
    }

    /// Whether the request must not have the key.
    pub(crate) fn forbids(&self, key: u32) -> bool {
        self.strict != 0 && self.contains(key)
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.strict != 0
    }
}

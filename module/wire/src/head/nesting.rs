//! Nesting of brackets, one bit per level.

/// Maximum number of open objects and arrays.
pub const MAX_DEPTH: usize = 512;

const WORD: usize = u64::BITS as usize;

/// A stack of open objects (1) and arrays (0).
#[derive(Debug)]
pub(super) struct Nesting {
    bits: [u64; MAX_DEPTH / WORD],
    depth: usize,
}

impl Nesting {
    pub(super) const fn new() -> Self {
        Self {
            bits: [0; MAX_DEPTH / WORD],
            depth: 0,
        }
    }

    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// Opens an object or an array; `false` when the limit is exceeded.
    pub(super) fn open(&mut self, object: bool) -> bool {
        let Some(word) = self.bits.get_mut(self.depth / WORD) else {
            return false;
        };
        let bit = 1 << (self.depth % WORD);
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        true
    }

    /// Closes the innermost; the caller has checked its kind.
    pub(super) fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Whether the innermost is an object.
    pub(super) fn in_object(&self) -> bool {
        let Some(top) = self.depth.checked_sub(1) else {
            return false;
        };
        self.bits[top / WORD] >> (top % WORD) & 1 == 1
    }
}

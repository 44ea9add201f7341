//! Nesting of brackets, one bit per level.

/// Maximum number of open objects and arrays.
pub const MAX_DEPTH: usize = 512;

const WORD: usize = u64::BITS as usize;

/// A stack of open objects (1) and arrays (0).
#[derive(Debug)]
pub(super) struct Nesting {
    bits: [u64; MAX_DEPTH / WORD],
    depth: usize,
    /// Whether the innermost is an object.
    in_object: bool,
}

impl Nesting {
    pub(super) const fn new() -> Self {
        Self {
            bits: [0; MAX_DEPTH / WORD],
            depth: 0,
            in_object: true,
        }
    }

    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// Opens an object or an array; `false` when the limit is exceeded. A level beyond the
    /// limit counts as an array when a level inside it closes.
    pub(super) fn open(&mut self, object: bool) -> bool {
        let (at, bit) = (self.depth / WORD, 1 << (self.depth % WORD));
        self.depth += 1;
        self.in_object = object;
        let Some(word) = self.bits.get_mut(at) else {
            return false;
        };
        *word = if object { *word | bit } else { *word & !bit };
        true
    }

    /// Closes the innermost object or array, if one is open.
    pub(super) fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.in_object = match self.depth.checked_sub(1) {
            Some(top) => {
                let word = self.bits.get(top / WORD);
                word.is_some_and(|word| word >> (top % WORD) & 1 == 1)
            }
            None => true,
        };
    }

    /// Whether the innermost is an object, or nothing is open.
    pub(super) const fn in_object(&self) -> bool {
        self.in_object
    }
}

//! Short strings stored inline.

use std::fmt;
use std::ops::Deref;

/// A string field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Captured<const N: usize> {
    /// Absent, `null`, or of another type.
    #[default]
    Absent,
    /// Present, decoded.
    Text(Text<N>),
    /// Longer than `N` bytes.
    TooLong,
}

impl<const N: usize> Captured<N> {
    /// The text, if it is present and was kept.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::TooLong => None,
        }
    }
}

/// At most `N` bytes of UTF-8, stored inline.
#[derive(Clone)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// Copies `bytes`, with U+FFFD for invalid UTF-8; `None` when too long.
    pub(super) fn lossy(bytes: &[u8]) -> Option<Self> {
        let mut text = Self {
            bytes: [0; N],
            len: 0,
        };
        for chunk in bytes.utf8_chunks() {
            text.push(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                text.push("\u{FFFD}")?;
            }
        }
        Some(text)
    }

    fn push(&mut self, part: &str) -> Option<()> {
        let end = self.len + part.len();
        self.bytes
            .get_mut(self.len..end)?
            .copy_from_slice(part.as_bytes());
        self.len = end;
        Some(())
    }
}

impl<const N: usize> Deref for Text<N> {
    type Target = str;

    fn deref(&self) -> &str {
        // Only whole strings are added.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl<const N: usize> PartialEq for Text<N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<const N: usize> Eq for Text<N> {}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

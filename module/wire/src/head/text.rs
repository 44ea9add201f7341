//! Short strings kept in place.

use std::fmt;
use std::ops::Deref;

/// A string field of a head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Captured<const N: usize> {
    /// Not there, `null`, or of another kind.
    #[default]
    Absent,
    /// There, decoded.
    Text(Text<N>),
    /// There, but longer than the `N` bytes that are kept.
    TooLong,
}

impl<const N: usize> Captured<N> {
    /// The text, if it is there and was kept.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::TooLong => None,
        }
    }
}

/// At most `N` bytes of UTF-8, held in place.
#[derive(Clone)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// Takes `bytes` with U+FFFD for whatever is not UTF-8; `None` when too long.
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
        // Only whole strings are ever pushed.
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

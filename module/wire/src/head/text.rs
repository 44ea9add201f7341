//! Short strings stored inline.

use arrayvec::ArrayString;

/// A string field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Captured<const N: usize> {
    /// Absent, `null`, or of another type.
    #[default]
    Absent,
    /// Present, decoded.
    Text(ArrayString<N>),
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

    /// Copies a decoded string, with U+FFFD for invalid UTF-8.
    pub(super) fn lossy(bytes: &[u8]) -> Self {
        let mut text = ArrayString::new();
        let parts = bytes.utf8_chunks().flat_map(|chunk| {
            let invalid = !chunk.invalid().is_empty();
            [chunk.valid(), if invalid { "\u{FFFD}" } else { "" }]
        });
        for part in parts {
            if text.try_push_str(part).is_err() {
                return Self::TooLong;
            }
        }
        Self::Text(text)
    }
}

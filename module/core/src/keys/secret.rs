//! Secret texts.

use std::fmt;

use zeroize::Zeroizing;

/// A secret text. It is cleared from memory when dropped, and never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Copies `text`. The caller must clear the original.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The secret text. Use it only for sending or hashing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Whether `text` is valid as a single word of a header: visible ASCII, at least one byte.
///
/// A line break in a key would begin another header.
pub(crate) fn is_header_text(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_graphic)
}

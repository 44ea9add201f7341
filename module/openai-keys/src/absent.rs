//! Replaces `decrypt` and `key` in a build without the feature `age`: every encrypted file is refused.

use zeroize::Zeroizing;

use crate::OpenError;

/// The value of `ENCRYPTION_KEY`, which is not used.
#[derive(Debug)]
#[non_exhaustive]
pub struct EncryptionKey;

/// Why a text is no key. Every text is one here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {}

impl EncryptionKey {
    /// Takes any text.
    ///
    /// # Errors
    /// None.
    pub fn parse(_text: &str) -> Result<Self, KeyError> {
        Ok(Self)
    }
}

pub(crate) fn decrypt(
    _bytes: &[u8],
    _key: Result<&EncryptionKey, KeyError>,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    Err(OpenError::Unsupported)
}

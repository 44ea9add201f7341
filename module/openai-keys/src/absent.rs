//! Replaces `decrypt` and `key` in a build without the feature `age`: encrypted files are rejected.

use zeroize::Zeroizing;

use crate::OpenError;

/// The value of `ENCRYPTION_KEY`, which is not used.
#[derive(Debug)]
#[non_exhaustive]
pub struct EncryptionKey;

/// The errors of [`EncryptionKey::parse`]. There are none in this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionKeyError {}

impl EncryptionKey {
    /// Accepts any text, and ignores it.
    ///
    /// # Errors
    /// None.
    pub fn parse(_text: &str) -> Result<Self, EncryptionKeyError> {
        Ok(Self)
    }
}

pub(crate) fn decrypt(
    _bytes: &[u8],
    _key: Result<&EncryptionKey, EncryptionKeyError>,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    Err(OpenError::Unsupported)
}

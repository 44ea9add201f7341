//! Reads files that can be encrypted.

use std::io::{self, Read};

use zeroize::{Zeroize, Zeroizing};

#[cfg(not(feature = "age"))]
use crate::absent::decrypt;
#[cfg(feature = "age")]
use crate::decrypt::decrypt;
use crate::{EncryptionKey, EncryptionKeyError};

const BINARY: &[u8] = b"age-encryption.org/";
const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// The maximum work factor of scrypt that is accepted for a passphrase, as a power of two: 1 GiB of
/// memory, four times what `age -p` uses.
pub(crate) const MOST_WORK: u8 = 20;

/// The errors of [`open`].
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is encrypted, and this build cannot decrypt.
    #[error(
        "is encrypted, and the module was built without support for it (the cargo feature `age`)"
    )]
    Unsupported,
    /// The file is encrypted, and there is no valid key.
    #[error("is encrypted, and {0}")]
    Key(EncryptionKeyError),
    /// The file is encrypted with another key.
    #[error("cannot be decrypted: ENCRYPTION_KEY is not the one it was encrypted with")]
    WrongKey,
    /// The encrypted file has been truncated or changed.
    #[error("cannot be decrypted: it is damaged")]
    Damaged,
    /// The file has an unknown version of the format.
    #[error("cannot be decrypted: its format is not age-encryption.org/v1")]
    Format,
    /// The work factor for the passphrase, as a power of two, is more than 20.
    #[error(
        "cannot be decrypted: its passphrase requires 2^{0} rounds of scrypt, more than 2^{MOST_WORK}"
    )]
    Work(u8),
    /// The content is not UTF-8.
    #[error("is not UTF-8")]
    NotText,
}

/// The maximum size of a file in bytes.
const MOST: usize = 16 << 20;

/// Reads a whole file, which can be encrypted. `length` is the expected number of bytes.
///
/// # Errors
/// If reading fails, or the file is larger than 16 MiB.
pub fn read(file: impl Read, length: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Enough capacity for everything: a growing vector leaves copies of secrets in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.min(MOST) + 1));
    file.take(MOST as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MOST {
        return Err(io::Error::other("larger than 16 MiB"));
    }
    Ok(bytes)
}

/// Whether a file that begins with these bytes is encrypted.
#[must_use]
pub fn is_encrypted(bytes: &[u8]) -> bool {
    encrypted(bytes).is_some()
}

/// The encrypted content; `None` if it is not encrypted. White space before the armor is skipped.
fn encrypted(bytes: &[u8]) -> Option<&[u8]> {
    let armored = bytes.trim_ascii_start();
    if armored.starts_with(ARMOR) {
        return Some(armored);
    }
    bytes.starts_with(BINARY).then_some(bytes)
}

/// Returns the text of a file, decrypted if necessary. `key` is only used for an encrypted file.
///
/// # Errors
/// If the content cannot be decrypted, or is not UTF-8.
pub fn open(
    bytes: Zeroizing<Vec<u8>>,
    key: Result<&EncryptionKey, EncryptionKeyError>,
) -> Result<Zeroizing<String>, OpenError> {
    let mut bytes = match encrypted(&bytes) {
        Some(encrypted) => decrypt(encrypted, key)?,
        None => bytes,
    };
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(e) => {
            e.into_bytes().zeroize();
            Err(OpenError::NotText)
        }
    }
}

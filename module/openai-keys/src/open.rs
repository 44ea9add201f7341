//! Reading a file that may be encrypted.

use zeroize::{Zeroize, Zeroizing};

#[cfg(not(feature = "age"))]
use crate::absent::decrypt;
#[cfg(feature = "age")]
use crate::decrypt::decrypt;
use crate::{EncryptionKey, KeyError};

const BINARY: &[u8] = b"age-encryption.org/";
const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// The most rounds of scrypt, as a power of two, that are spent on a passphrase: 1 GiB
/// of memory, four times what `age -p` asks for.
pub(crate) const MOST_WORK: u8 = 20;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// This build cannot decrypt.
    #[error(
        "is encrypted, and the module was built without support for it (the cargo feature `age`)"
    )]
    Unsupported,
    /// There is no key.
    #[error("is encrypted, and {0}")]
    Key(KeyError),
    /// It is for somebody else.
    #[error("cannot be decrypted: ENCRYPTION_KEY is not the one it was encrypted with")]
    WrongKey,
    /// It has been cut off or changed.
    #[error("cannot be decrypted: it is damaged")]
    Damaged,
    /// A version of age that does not exist yet.
    #[error("cannot be decrypted: its format is not age-encryption.org/v1")]
    Format,
    /// It would take too long.
    #[error(
        "cannot be decrypted: its passphrase asks for 2^{0} rounds of scrypt, more than 2^{MOST_WORK}"
    )]
    Work(u8),
    /// It is no text.
    #[error("is not UTF-8")]
    NotText,
}

/// Whether this is the beginning of an encrypted file.
#[must_use]
pub fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.starts_with(BINARY) || bytes.trim_ascii_start().starts_with(ARMOR)
}

/// The text of a file. `key` is asked for when it is encrypted.
///
/// # Errors
/// When it cannot be decrypted, or is no text.
pub fn open(
    bytes: Zeroizing<Vec<u8>>,
    key: Result<&EncryptionKey, KeyError>,
) -> Result<Zeroizing<String>, OpenError> {
    let mut bytes = if is_encrypted(&bytes) {
        decrypt(&bytes, key)?
    } else {
        bytes
    };
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(e) => {
            e.into_bytes().zeroize();
            Err(OpenError::NotText)
        }
    }
}

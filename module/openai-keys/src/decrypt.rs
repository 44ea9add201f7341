//! Reading a file that may be encrypted.

use std::io::Read;

use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor, Identity, scrypt};
use zeroize::{Zeroize, Zeroizing};

use crate::key::Kind;
use crate::{EncryptionKey, KeyError};

const BINARY: &[u8] = b"age-encryption.org/";
const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// The most rounds of scrypt, as a power of two, that are spent on a passphrase: 1 GiB
/// of memory, four times what `age -p` asks for.
const MOST_WORK: u8 = 20;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
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
        decrypt(&bytes, key.map_err(OpenError::Key)?)?
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

fn decrypt(bytes: &[u8], key: &EncryptionKey) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(bytes)).map_err(reason)?;
    let mut reader = match &key.0 {
        Kind::Identities(identities) => {
            decryptor.decrypt(identities.iter().map(|identity| identity as &dyn Identity))
        }
        Kind::Passphrase(_) if !decryptor.is_scrypt() => return Err(OpenError::WrongKey),
        Kind::Passphrase(passphrase) => {
            let mut identity = scrypt::Identity::new(passphrase.clone());
            identity.set_max_work_factor(MOST_WORK);
            decryptor.decrypt(std::iter::once(&identity as &dyn Identity))
        }
    }
    .map_err(reason)?;
    // Room for all of it: a vector that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len()));
    reader
        .read_to_end(&mut text)
        .map_err(|_| OpenError::Damaged)?;
    Ok(text)
}

fn reason(error: DecryptError) -> OpenError {
    match error {
        DecryptError::NoMatchingKeys
        | DecryptError::DecryptionFailed
        | DecryptError::KeyDecryptionFailed => OpenError::WrongKey,
        DecryptError::ExcessiveWork { required, .. } => OpenError::Work(required),
        DecryptError::UnknownFormat => OpenError::Format,
        _ => OpenError::Damaged,
    }
}

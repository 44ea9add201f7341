//! Decrypts the content of a file.

use std::io::Read;

use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor, Identity, scrypt};
use zeroize::Zeroizing;

use crate::key::KeyKind;
use crate::open::MOST_WORK;
use crate::{EncryptionKey, EncryptionKeyError, OpenError};

pub(crate) fn decrypt(
    bytes: &[u8],
    key: Result<&EncryptionKey, EncryptionKeyError>,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let key = key.map_err(OpenError::Key)?;
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(bytes)).map_err(reason)?;
    let mut reader = match &key.0 {
        KeyKind::Identities(identities) => {
            decryptor.decrypt(identities.iter().map(|identity| identity as &dyn Identity))
        }
        KeyKind::Passphrase(_) if !decryptor.is_scrypt() => return Err(OpenError::WrongKey),
        KeyKind::Passphrase(passphrase) => {
            let mut identity = scrypt::Identity::new(passphrase.clone());
            identity.set_max_work_factor(MOST_WORK);
            decryptor.decrypt(std::iter::once(&identity as &dyn Identity))
        }
    }
    .map_err(reason)?;
    // Enough capacity for everything: a growing vector leaves copies of secrets in freed memory.
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

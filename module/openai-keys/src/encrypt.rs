//! Encrypts the content of a file.

use std::io::{self, Write};

use age::armor::{ArmoredWriter, Format};
use age::secrecy::ExposeSecret;
use age::{Encryptor, scrypt, x25519};
use zeroize::Zeroizing;

use crate::EncryptionKey;
use crate::key::KeyKind;

/// The work factor of scrypt for a passphrase, as a power of two: 64 MiB of memory, and a fifth of
/// a second, which each worker of nginx spends when the file changes.
const WORK: u8 = 16;

/// The key to encrypt a file with.
pub enum Recipient<'a> {
    /// The value of `ENCRYPTION_KEY`: its passphrase, or its first identity.
    Key(&'a EncryptionKey),
    /// The public key of an identity, `age1…`.
    Public(&'a str),
}

/// The errors of [`encrypt`].
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// The text is not a public key, `age1…`.
    #[error("the recipient is not a public key of age (age1...)")]
    Recipient,
    /// Encryption failed for another reason.
    #[error("cannot be encrypted: {0}")]
    Failed(#[from] io::Error),
}

/// Encrypts the content of a file. The result is text (age's armor).
///
/// # Errors
/// If the public key is invalid, or encryption fails.
pub fn encrypt(plain: &[u8], recipient: &Recipient<'_>) -> Result<Vec<u8>, EncryptError> {
    let recipient: Box<dyn age::Recipient> = match recipient {
        Recipient::Public(text) => {
            let public: Result<x25519::Recipient, _> = text.parse();
            Box::new(public.map_err(|_| EncryptError::Recipient)?)
        }
        Recipient::Key(EncryptionKey(KeyKind::Passphrase(passphrase))) => {
            let mut recipient = scrypt::Recipient::new(passphrase.clone());
            recipient.set_work_factor(WORK);
            Box::new(recipient)
        }
        Recipient::Key(EncryptionKey(KeyKind::Identities(identities))) => {
            let first = identities.first().ok_or(EncryptError::Recipient)?;
            Box::new(first.to_public())
        }
    };
    let encryptor = Encryptor::with_recipients(std::iter::once(&*recipient))
        .map_err(|_| EncryptError::Recipient)?;
    let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
    let mut writer = encryptor.wrap_output(armor)?;
    writer.write_all(plain)?;
    Ok(writer.finish()?.finish()?)
}

/// Generates an identity. Returns the secret identity, for `ENCRYPTION_KEY`, and its public key.
#[must_use]
pub fn generate() -> (Zeroizing<String>, String) {
    let identity = x25519::Identity::generate();
    let secret = Zeroizing::new(identity.to_string().expose_secret().to_owned());
    (secret, identity.to_public().to_string())
}

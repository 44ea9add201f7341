//! Making an encrypted file.

use std::io::{self, Write};

use age::armor::{ArmoredWriter, Format};
use age::secrecy::ExposeSecret;
use age::{Encryptor, scrypt, x25519};
use zeroize::Zeroizing;

use crate::EncryptionKey;
use crate::key::Kind;

/// Rounds of scrypt for a passphrase, as a power of two: 64 MiB, a fifth of a second.
/// Every worker of nginx spends them when the file changes.
const WORK: u8 = 16;

/// For whom a file is encrypted.
pub enum Recipient<'a> {
    /// Who has the key.
    Key(&'a EncryptionKey),
    /// Who has the identity of this public key, `age1…`.
    Public(&'a str),
}

/// Why nothing was encrypted.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// Not `age1…`.
    #[error("the recipient is no public key of age, age1...")]
    Recipient,
    /// Nothing else can be said of it.
    #[error("it cannot be encrypted: {0}")]
    Failed(#[from] io::Error),
}

/// Encrypts a file, as text (age's armor).
///
/// # Errors
/// When the recipient is none.
pub fn encrypt(plain: &[u8], recipient: &Recipient<'_>) -> Result<Vec<u8>, EncryptError> {
    let recipient: Box<dyn age::Recipient> = match recipient {
        Recipient::Public(text) => {
            let public: Result<x25519::Recipient, _> = text.parse();
            Box::new(public.map_err(|_| EncryptError::Recipient)?)
        }
        Recipient::Key(EncryptionKey(Kind::Passphrase(passphrase))) => {
            let mut recipient = scrypt::Recipient::new(passphrase.clone());
            recipient.set_work_factor(WORK);
            Box::new(recipient)
        }
        Recipient::Key(EncryptionKey(Kind::Identities(identities))) => {
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

/// Makes an identity: the secret one for `ENCRYPTION_KEY`, and the public key.
#[must_use]
pub fn generate() -> (Zeroizing<String>, String) {
    let identity = x25519::Identity::generate();
    let secret = Zeroizing::new(identity.to_string().expose_secret().to_owned());
    (secret, identity.to_public().to_string())
}

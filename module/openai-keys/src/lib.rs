//! Reads files of secrets, which can be encrypted, and encrypts them.
//!
//! The format is [age](https://age-encryption.org/v1), binary or with armor, and is detected by the
//! first bytes. The key is `ENCRYPTION_KEY`: an age identity, or a passphrase.
//!
//! Without the feature `age`, encrypted files are recognized and rejected.
#![forbid(unsafe_code)]

#[cfg(not(feature = "age"))]
mod absent;
#[cfg(feature = "age")]
mod decrypt;
#[cfg(feature = "age")]
mod encrypt;
#[cfg(feature = "age")]
mod key;
mod open;

#[cfg(not(feature = "age"))]
pub use absent::{EncryptionKey, EncryptionKeyError};
#[cfg(feature = "age")]
pub use encrypt::{EncryptError, Recipient, encrypt, generate};
#[cfg(feature = "age")]
pub use key::{EncryptionKey, EncryptionKeyError};
pub use open::{OpenError, is_encrypted, open, read};

/// The environment variable that contains the key of encrypted files.
pub const VARIABLE: &str = "ENCRYPTION_KEY";

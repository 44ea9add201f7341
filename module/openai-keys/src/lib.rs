//! Files of secrets that may be encrypted.
//!
//! The format is [age](https://age-encryption.org/v1), binary or in armor, and is
//! told by its first bytes. The key is `ENCRYPTION_KEY`: an age identity, or a
//! passphrase.
#![forbid(unsafe_code)]

mod decrypt;
mod encrypt;
mod key;

pub use decrypt::{OpenError, is_encrypted, open};
pub use encrypt::{EncryptError, Recipient, encrypt, generate};
pub use key::{EncryptionKey, KeyError};

/// The environment variable with the key of encrypted files.
pub const VARIABLE: &str = "ENCRYPTION_KEY";

//! Files of secrets that may be encrypted.
//!
//! The format is [age](https://age-encryption.org/v1), binary or in armor, and is
//! told by its first bytes. The key is `ENCRYPTION_KEY`: an age identity, or a
//! passphrase.
//!
//! Without the feature `age`, encrypted files are recognized and refused.
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
pub use absent::{EncryptionKey, KeyError};
#[cfg(feature = "age")]
pub use encrypt::{EncryptError, Recipient, encrypt, generate};
#[cfg(feature = "age")]
pub use key::{EncryptionKey, KeyError};
pub use open::{OpenError, is_encrypted, open};

/// The environment variable with the key of encrypted files.
pub const VARIABLE: &str = "ENCRYPTION_KEY";

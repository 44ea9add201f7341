//! The key that files are encrypted with.

use std::fmt;

use age::secrecy::SecretString;
use age::x25519::Identity;

/// What every age identity begins with.
const IDENTITY: &str = "AGE-SECRET-KEY-";

/// The value of `ENCRYPTION_KEY`.
pub struct EncryptionKey(pub(crate) Kind);

pub(crate) enum Kind {
    /// The first is the one to encrypt with.
    Identities(Vec<Identity>),
    Passphrase(SecretString),
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error("ENCRYPTION_KEY is not set")]
    Empty,
    /// It looks like an identity.
    #[error("ENCRYPTION_KEY is no valid age identity")]
    Identity,
}

impl EncryptionKey {
    /// Reads age identities (several, old ones after the new one, separated by commas
    /// or white space), or else a passphrase.
    ///
    /// # Errors
    /// When there is nothing, or what begins as an identity is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if !text.starts_with(IDENTITY) {
            return Ok(Self(Kind::Passphrase(SecretString::from(text.to_owned()))));
        }
        let words = text.split(|c: char| c == ',' || c.is_whitespace());
        let identities = words
            .filter(|word| !word.is_empty())
            .map(|word| word.parse().map_err(|_| KeyError::Identity));
        Ok(Self(Kind::Identities(
            identities.collect::<Result<_, _>>()?,
        )))
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey(redacted)")
    }
}

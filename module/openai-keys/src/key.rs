//! The value of `ENCRYPTION_KEY`.

use std::fmt;

use age::secrecy::SecretString;
use age::x25519::Identity;

/// The prefix of age identities.
const IDENTITY: &str = "AGE-SECRET-KEY-";

/// A parsed value of `ENCRYPTION_KEY`. Its `Debug` output contains no secret.
pub struct EncryptionKey(pub(crate) KeyKind);

pub(crate) enum KeyKind {
    /// All are tried for decryption; the first is used for encryption.
    Identities(Vec<Identity>),
    Passphrase(SecretString),
}

/// The errors of [`EncryptionKey::parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionKeyError {
    /// The text is empty.
    #[error("ENCRYPTION_KEY is not set")]
    Empty,
    /// The text contains the prefix of an identity, but also an invalid word, or only comments.
    #[error("ENCRYPTION_KEY is not a valid age identity")]
    Identity,
}

impl EncryptionKey {
    /// Parses age identities or a passphrase. Several identities are separated by commas or white
    /// space, the newest first; lines that begin with `#` are comments, as in the output of
    /// `age-keygen`. Any other text is a passphrase.
    ///
    /// # Errors
    /// If the text is empty, or contains an identity and anything that is not a valid one.
    pub fn parse(text: &str) -> Result<Self, EncryptionKeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EncryptionKeyError::Empty);
        }
        if !words(text).any(|word| word.starts_with(IDENTITY)) {
            return Ok(Self(KeyKind::Passphrase(SecretString::from(
                text.to_owned(),
            ))));
        }
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        let identities = lines
            .flat_map(words)
            .map(|word| word.parse().map_err(|_| EncryptionKeyError::Identity));
        let identities: Vec<Identity> = identities.collect::<Result<_, _>>()?;
        if identities.is_empty() {
            return Err(EncryptionKeyError::Identity);
        }
        Ok(Self(KeyKind::Identities(identities)))
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey(redacted)")
    }
}

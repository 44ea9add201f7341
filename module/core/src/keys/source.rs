//! Sources of keys and tokens.

use std::fmt;

use super::{KeyError, Secret, is_header_text};
use crate::echo;

/// Where keys, or the token of a client, are stored. The caller reads them.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// An environment variable: keys separated by commas.
    Env(String),
    /// A file: one key per line.
    File(String),
    /// The key itself. A token cannot be given in this way.
    Literal(Secret),
}

impl SecretSource {
    /// Parses `env:NAME`, `file:PATH` or a key.
    ///
    /// # Errors
    /// When the name, the path or the key is invalid.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if let Some(name) = text.strip_prefix("env:") {
            let valid = !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            return if valid {
                Ok(Self::Env(name.to_owned()))
            } else {
                Err(KeyError::EnvName)
            };
        }
        match text.strip_prefix("file:") {
            Some("") => Err(KeyError::FilePath),
            Some(path) => Ok(Self::File(path.to_owned())),
            None if is_key(text) => Ok(Self::Literal(Secret::new(text))),
            None => Err(KeyError::Invalid("the first parameter".to_owned())),
        }
    }
}

/// Writes the source as in the configuration, but without a literal key or a variable's name that
/// may be a secret.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{}", echo::variable(name)),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Literal(_) => f.write_str("a literal key"),
        }
    }
}

/// Whether `text` can be a key. A comma means a list of keys, which is not accepted.
pub(super) fn is_key(text: &str) -> bool {
    is_header_text(text.as_bytes()) && !text.contains(',')
}

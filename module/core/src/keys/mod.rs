//! The API keys of a pool: their sources, ids and numbers of slots.

mod error;
mod fingerprint;
mod list;
mod name;
mod options;
mod secret;
mod source;
#[cfg(test)]
mod tests;
mod watch;

pub use error::{KeyError, OptionError};
pub use fingerprint::Fingerprint;
pub use list::KeyList;
pub(crate) use name::{NAMES, is_name};
pub use options::{KeyDirective, KeyOptions};
pub(crate) use options::{each_option, once};
pub use secret::Secret;
pub(crate) use secret::is_header_text;
pub use source::SecretSource;
pub use watch::{FileWatch, NextLook};

/// A configured key.
#[derive(Debug)]
pub struct KeySpec {
    /// The secret.
    pub secret: Secret,
    /// The id in logs, listings and metrics; unique in its pool.
    pub id: String,
    /// Identifies the key, even if its id changes.
    pub fingerprint: Fingerprint,
    /// Number of slots: concurrent leases.
    pub slots: u16,
    /// Share of the pool's leases, relative to the weights of the other keys; see
    /// [`crate::lease::Balance`].
    pub weight: u16,
    /// Hash of the key's configuration: its directive, and its options in a file. It does not
    /// depend on the secret.
    pub line: u64,
}

impl KeySpec {
    /// Whether the key has the form of OpenAI's: `sk-`, and at least 20 bytes in all.
    #[must_use]
    pub fn looks_like_openai(&self) -> bool {
        let key = self.secret.expose();
        key.starts_with("sk-") && key.len() >= 20
    }
}

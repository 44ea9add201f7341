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

pub use error::{KeyError, OptionError};
pub use fingerprint::Fingerprint;
pub use list::KeyList;
pub(crate) use name::is_name;
pub use options::{KeyDirective, KeyOptions};
pub(crate) use options::{once, unknown};
pub use secret::Secret;
pub(crate) use secret::is_header_text;
pub use source::KeySource;

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
    /// Weight.
    pub weight: u16,
    /// Hash of its lines: the directive, and its line in a file. Does not depend on the secret.
    pub line: u64,
}

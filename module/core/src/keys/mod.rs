//! The API keys of a pool: where they come from, what they are called, how many
//! leases each may give.

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

/// A key as the configuration has it.
#[derive(Debug)]
pub struct KeySpec {
    /// The key itself.
    pub secret: Secret,
    /// The name that logs, listings and metrics use; unique in its pool.
    pub id: String,
    /// What tells the key from all others, also when its id changes.
    pub fingerprint: Fingerprint,
    /// How many leases it may give at once.
    pub slots: u16,
    /// Its share where keys are weighted.
    pub weight: u16,
    /// What tells its lines from others: the directive, and in a file its own. It does not
    /// depend on the key itself.
    pub line: u64,
}

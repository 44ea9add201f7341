//! Mistakes in the configuration of keys. No message holds a key.

/// A mistake in the keys of a pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The directive does not say where the key comes from.
    #[error("no key: env:NAME, file:PATH or the key itself must come first")]
    NoSource,
    /// `env:` without the name of a variable.
    #[error("\"env:\" must be followed by the name of an environment variable")]
    EnvName,
    /// `file:` without a path.
    #[error("\"file:\" must be followed by a path")]
    FilePath,
    /// A mistake in the options of the directive.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A mistake in the options of a line of a file.
    #[error("{place}: {error}")]
    LineOption {
        /// The line.
        place: String,
        /// The mistake.
        error: OptionError,
    },
    /// A key that would break out of the header it is sent in, or looks like
    /// something else.
    #[error("{place} is no key: a key is visible ASCII without spaces and commas")]
    Invalid {
        /// Where the key stands.
        place: String,
    },
    /// A source that is not optional has no key.
    #[error("\"{place}\" holds no key")]
    Empty {
        /// The source.
        place: String,
    },
    /// A key that the pool already has.
    #[error("keys \"{first}\" and \"{second}\" are the same key")]
    SameKey {
        /// The id of the one that came first.
        first: String,
        /// The id that the other would have.
        second: String,
    },
    /// An id that the pool already has.
    #[error("two keys have the id \"{id}\"")]
    SameId {
        /// The id.
        id: String,
    },
}

/// A mistake in an option, `name=value` or a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is no option of this name.
    #[error("unknown option \"{name}\"")]
    Unknown {
        /// The name.
        name: String,
    },
    /// Not the form of an option. What it is instead is not shown: it may be a key.
    #[error("parameter {position} is no option")]
    NotAnOption {
        /// Its place, the key being the first parameter.
        position: usize,
    },
    /// Given twice.
    #[error("option \"{name}\" is given twice")]
    Repeated {
        /// The option's name.
        name: &'static str,
    },
    /// A value that the option does not take.
    #[error("invalid {name} {value:?}: {wanted} expected")]
    Invalid {
        /// The option's name.
        name: &'static str,
        /// The value that was given.
        value: String,
        /// What the option takes.
        wanted: &'static str,
    },
}

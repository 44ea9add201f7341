//! Errors in the configuration of keys. No message contains a key.

/// An error in the keys of a pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The directive has no source.
    #[error("no key: env:NAME, file:PATH or the key itself must come first")]
    NoSource,
    /// `env:` without the name of a variable.
    #[error("\"env:\" must be followed by the name of an environment variable")]
    EnvName,
    /// `file:` without a path.
    #[error("\"file:\" must be followed by a path")]
    FilePath,
    /// An error in the options of the directive.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// An error in the options of a line of a file.
    #[error("{place}: {error}")]
    LineOption {
        /// The line.
        place: String,
        /// The error.
        error: OptionError,
    },
    /// The key is empty, has characters that a header or a list of keys cannot contain, or looks
    /// like an option.
    #[error(
        "{0} is not a key: a key is visible ASCII without spaces and commas; write a line for each key"
    )]
    Invalid(String),
    /// A source without keys that is not optional.
    #[error("\"{0}\" contains no key; write one into it, or add \"optional\"")]
    Empty(String),
    /// The pool already has this key.
    #[error(
        "{place}: keys \"{first}\" and \"{second}\" are the same key, see {other}; remove one of them"
    )]
    SameKey {
        /// Location of the second key.
        place: String,
        /// Id of the first key.
        first: String,
        /// Id of the second key.
        second: String,
        /// Location of the first key.
        other: String,
    },
    /// The pool already has this id.
    #[error("{place}: two keys have the id \"{id}\", see {other}; choose another id")]
    SameId {
        /// Location of the second key.
        place: String,
        /// The id.
        id: String,
        /// Location of the first key.
        other: String,
    },
}

/// An error in an option, `name=value` or a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Unknown option.
    #[error("unknown option \"{name}\", it must be one of {known}")]
    Unknown {
        /// The name of the option.
        name: String,
        /// Description of the known options.
        known: &'static str,
    },
    /// Not in the form of an option. The text is not shown, since it may be a key.
    #[error("parameter {position} is not an option, it must be one of {known}")]
    NotAnOption {
        /// Position among the parameters, from 1.
        position: usize,
        /// Description of the known options.
        known: &'static str,
    },
    /// Repeated option.
    #[error("option \"{0}\" is repeated, remove one of them")]
    Repeated(&'static str),
    /// Invalid value.
    #[error("invalid {name} {value:?}: {wanted} expected")]
    Invalid {
        /// The option's name.
        name: &'static str,
        /// The value.
        value: String,
        /// Description of valid values.
        wanted: &'static str,
    },
}

impl OptionError {
    /// The error for a value of an option.
    pub(crate) fn invalid(name: &'static str, value: &str, wanted: &'static str) -> Self {
        Self::Invalid {
            name,
            value: value.to_owned(),
            wanted,
        }
    }
}

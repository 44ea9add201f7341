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
    /// The key has characters that a header cannot contain, or looks like something else.
    #[error("{place} is not a key: a key is visible ASCII without spaces and commas")]
    Invalid {
        /// Location of the key.
        place: String,
    },
    /// A source without keys that is not optional.
    #[error("\"{place}\" contains no key")]
    Empty {
        /// The source.
        place: String,
    },
    /// The pool already has this key.
    #[error("keys \"{first}\" and \"{second}\" are the same key")]
    SameKey {
        /// Id of the first key.
        first: String,
        /// Id of the second key.
        second: String,
    },
    /// The pool already has this id.
    #[error("two keys have the id \"{id}\"")]
    SameId {
        /// The id.
        id: String,
    },
}

/// An error in an option, `name=value` or a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Unknown option.
    #[error("unknown option \"{name}\"")]
    Unknown {
        /// The name.
        name: String,
    },
    /// Not in the form of an option. The text is not shown, since it may be a key.
    #[error("parameter {position} is not an option")]
    NotAnOption {
        /// Position, counted from the key as the first parameter.
        position: usize,
    },
    /// Repeated option.
    #[error("option \"{name}\" is repeated")]
    Repeated {
        /// The option's name.
        name: &'static str,
    },
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

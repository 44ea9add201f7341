//! Errors in the configuration of routes.

use openai_wire::head::MAX_MODEL;

use super::MAX_UPSTREAM;

/// An error in the configuration of routes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// A line with an unknown first word.
    #[error("unknown directive \"{0}\", it must be one of model, otherwise, alias")]
    Unknown(String),
    /// A `model` or `otherwise` without `to=`.
    #[error("needs a target, to=POOL or to=POOL@UPSTREAM")]
    NoTarget,
    /// A `model` without a pattern.
    #[error("needs a pattern, as \"model gpt-* to=POOL\"")]
    NoPattern,
    /// An empty pattern.
    #[error("a pattern is empty")]
    EmptyPattern,
    /// A pattern after a target, or anything other than targets after `otherwise`.
    #[error("\"{0}\" is misplaced: targets (to=...) come last")]
    OutOfPlace(String),
    /// A repeated pattern, alias or target.
    #[error("\"{0}\" is a duplicate, remove one of them")]
    Duplicate(String),
    /// A second `otherwise`.
    #[error("is a duplicate, remove one of them")]
    SecondOtherwise,
    /// A `*` that is not the last character.
    #[error("invalid pattern \"{0}\": * is only allowed at the end; use ~ for regular expressions")]
    Star(String),
    /// An invalid regular expression.
    #[error("invalid regular expression \"{expression}\": {why}")]
    Regex {
        /// The expression.
        expression: String,
        /// The error.
        why: String,
    },
    /// Not in the form `POOL@UPSTREAM`.
    #[error(
        "invalid target \"{0}\", it must be POOL or POOL@UPSTREAM; an upstream has 1 to {MAX_UPSTREAM} of the characters A-Z a-z 0-9 . _ - : [ ]"
    )]
    Target(String),
    /// An `alias` with a wrong number of arguments, or a third one other than `restore`.
    #[error("takes a name, a model, and \"restore\" or nothing")]
    Alias,
    /// A model name that is empty or too long.
    #[error("\"{0}\" must have 1 to {MAX_MODEL} bytes")]
    Model(String),
    /// An alias of an alias.
    #[error("\"{name}\": its model \"{model}\" is an alias itself, name the model")]
    Chain {
        /// The alias.
        name: String,
        /// Its model.
        model: String,
    },
    /// An alias of a model that no route serves.
    #[error("\"{name}\": no route serves its model \"{model}\", add \"model {model} to=POOL\"")]
    Unserved {
        /// The alias.
        name: String,
        /// Its model.
        model: String,
    },
    /// A block without `model` and `otherwise`.
    #[error("has no \"model\" and no \"otherwise\", add \"model * to=POOL;\"")]
    Empty,
}

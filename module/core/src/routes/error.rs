//! Mistakes in the configuration of routes.

use openai_wire::head::MAX_MODEL;

use super::MAX_UPSTREAM;

/// A mistake in the configuration of routes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// A line that begins with another word.
    #[error("unknown directive \"{0}\"")]
    Unknown(String),
    /// A `model` or `otherwise` without `to=`.
    #[error("needs a target, to=POOL or to=POOL@UPSTREAM")]
    NoTarget,
    /// A `model` without a pattern.
    #[error("needs a pattern")]
    NoPattern,
    /// A pattern of no characters.
    #[error("a pattern is empty")]
    EmptyPattern,
    /// A pattern behind a target, or anything but targets after `otherwise`.
    #[error("\"{0}\" is out of place: targets (to=...) come last")]
    OutOfPlace(String),
    /// A pattern, an alias or a target that stands twice.
    #[error("\"{0}\" is a duplicate")]
    Duplicate(String),
    /// A second `otherwise`.
    #[error("is a duplicate")]
    SecondOtherwise,
    /// A `*` that is not the last character.
    #[error("invalid pattern \"{0}\": * may only stand at the end; see ~ for regular expressions")]
    Star(String),
    /// A regular expression that is none.
    #[error("invalid regular expression \"{expression}\": {why}")]
    Regex {
        /// The expression.
        expression: String,
        /// What is wrong with it.
        why: String,
    },
    /// No `POOL@UPSTREAM`.
    #[error(
        "invalid target \"{0}\", it must be POOL or POOL@UPSTREAM; an upstream has 1 to {MAX_UPSTREAM} of the characters A-Z a-z 0-9 . _ - : [ ]"
    )]
    Target(String),
    /// An `alias` with too few or too many words.
    #[error("takes a name, a model, and \"restore\" or nothing")]
    Alias,
    /// A name that no request can have.
    #[error("\"{0}\" must have 1 to {MAX_MODEL} bytes")]
    Model(String),
    /// An alias for an alias.
    #[error("\"{name}\": its model \"{model}\" is an alias itself")]
    Chain {
        /// The alias.
        name: String,
        /// What it stands for.
        model: String,
    },
    /// An alias for what no route serves.
    #[error("\"{name}\": no route serves its model \"{model}\"")]
    Unserved {
        /// The alias.
        name: String,
        /// What it stands for.
        model: String,
    },
    /// A block without `model` and `otherwise`.
    #[error("has no \"model\" and no \"otherwise\"")]
    Empty,
}

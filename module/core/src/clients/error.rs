//! Mistakes in the configuration of clients, and why a request has no client.

use openai_wire::error::ApiError;

use crate::keys::OptionError;

/// A mistake in the configuration of clients. No message holds a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Less than a name and a source.
    #[error("a client needs a name and env:NAME or file:PATH for its token")]
    Incomplete,
    /// A name that cannot be shown everywhere.
    #[error("invalid client name {name:?}: 1 to 64 of the characters A-Z a-z 0-9 . _ - expected")]
    Name {
        /// The name.
        name: String,
    },
    /// The token itself, or something else that is no source.
    #[error("the token of client \"{name}\" must come from env:NAME or file:PATH")]
    Source {
        /// The client.
        name: String,
    },
    /// A mistake in an option.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The source is empty.
    #[error("\"{place}\" holds no token for client \"{name}\"")]
    NoToken {
        /// The client.
        name: String,
        /// The source.
        place: String,
    },
    /// A token that no client could send.
    #[error("the token of client \"{name}\" is not visible ASCII without spaces")]
    InvalidToken {
        /// The client.
        name: String,
    },
    /// A token that is easily guessed.
    #[error("the token of client \"{name}\" has less than 8 characters")]
    ShortToken {
        /// The client.
        name: String,
    },
    /// A token that everyone knows.
    #[error("the token of client \"{name}\" is a development token, only DEV_MODE may accept it")]
    DevToken {
        /// The client.
        name: String,
    },
    /// A name that another client has.
    #[error("two clients have the name \"{name}\"")]
    SameName {
        /// The name.
        name: String,
    },
    /// A quota line without bounds.
    #[error("a quota needs a client's name or *, and bounds such as tokens=1000000/day, or off")]
    NoQuota,
    /// Two quotas of the same client.
    #[error("two quotas for \"{whose}\"")]
    SameQuota {
        /// The client, or `*`.
        whose: String,
    },
    /// A quota for nobody.
    #[error("there is no client \"{name}\" to have a quota")]
    NobodysQuota {
        /// The name.
        name: String,
    },
    /// A token that another client has.
    #[error("clients \"{first}\" and \"{second}\" have the same token")]
    SameToken {
        /// The one that came first.
        first: String,
        /// The other.
        second: String,
    },
}

/// Why a request is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It carries no token.
    #[error("no client token")]
    Missing,
    /// Its token is no client's.
    #[error("unknown client token")]
    Unknown,
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Missing => Self::MissingToken,
            TokenError::Unknown => Self::WrongToken,
        }
    }
}

//! Errors in the configuration of clients, and why a request has no client.

use openai_wire::error::ApiError;

use crate::keys::OptionError;

/// An error in the configuration of clients. No message contains a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Name or source is missing.
    #[error("a client needs a name and env:NAME or file:PATH for its token")]
    Incomplete,
    /// The name has characters that are not allowed.
    #[error("invalid client name {name:?}: 1 to 64 of the characters A-Z a-z 0-9 . _ - expected")]
    Name {
        /// The name.
        name: String,
    },
    /// The source is invalid, for example the token itself.
    #[error("the token of client \"{name}\" must come from env:NAME or file:PATH")]
    Source {
        /// The client.
        name: String,
    },
    /// An error in an option.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The source has no token.
    #[error("\"{place}\" contains no token for client \"{name}\"")]
    NoToken {
        /// The client.
        name: String,
        /// The source.
        place: String,
    },
    /// The token has characters that a client cannot send.
    #[error("the token of client \"{name}\" is not visible ASCII without spaces")]
    InvalidToken {
        /// The client.
        name: String,
    },
    /// The token is short enough to be guessed.
    #[error("the token of client \"{name}\" has less than 8 characters")]
    ShortToken {
        /// The client.
        name: String,
    },
    /// The token is publicly known.
    #[error(
        "the token of client \"{name}\" is a development token, which is only accepted in DEV_MODE"
    )]
    DevToken {
        /// The client.
        name: String,
    },
    /// Another client has the same name.
    #[error("two clients have the name \"{name}\"")]
    SameName {
        /// The name.
        name: String,
    },
    /// A quota line without limits.
    #[error("a quota needs a client's name or *, and limits such as tokens=1000000/day, or off")]
    NoQuota,
    /// A client has two quotas.
    #[error("two quotas for \"{whose}\"")]
    SameQuota {
        /// The client, or `*`.
        whose: String,
    },
    /// A quota for an unknown client.
    #[error("quota for unknown client \"{name}\"")]
    NobodysQuota {
        /// The name.
        name: String,
    },
    /// Another client has the same token.
    #[error("clients \"{first}\" and \"{second}\" have the same token")]
    SameToken {
        /// The first client.
        first: String,
        /// The second client.
        second: String,
    },
}

/// Why a request has no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The request has no token.
    #[error("no client token")]
    Missing,
    /// No client has this token.
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

//! Errors in the configuration of clients, and why a request has no client.

use openai_wire::error::ApiError;

use crate::keys::OptionError;

/// An error in the configuration of clients. No message contains a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Name or source is missing.
    #[error("a client needs a name and env:NAME or file:PATH for its token")]
    Incomplete,
    /// The name is empty, too long, looks like a key, or has characters that are not allowed.
    #[error("invalid client name {0:?}: 1 to 64 of the characters A-Z a-z 0-9 . _ - expected")]
    Name(String),
    /// The source is invalid, for example the token itself.
    #[error("the token of client \"{0}\" must come from env:NAME or file:PATH")]
    Source(String),
    /// An error in an option.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The source has no token.
    #[error("\"{place}\" contains no token for client \"{name}\"; write one into it")]
    NoToken {
        /// The client.
        name: String,
        /// The source.
        place: String,
    },
    /// The token has characters that a client cannot send.
    #[error("the token of client \"{0}\" must be visible ASCII without spaces")]
    InvalidToken(String),
    /// The token is short enough to be guessed.
    #[error(
        "the token of client \"{0}\" has less than 8 characters; use another, for example of \"openssl rand -hex 24\""
    )]
    ShortToken(String),
    /// The token is publicly known.
    #[error(
        "the token of client \"{0}\" is a development token, which is only accepted in DEV_MODE; use another, for example of \"openssl rand -hex 24\""
    )]
    DevToken(String),
    /// Another client has the same name.
    #[error("two clients have the name \"{0}\", use another for one of them")]
    SameName(String),
    /// The name has a meaning in the metrics.
    #[error("the client name \"{0}\" is reserved, use another")]
    Reserved(String),
    /// There are quotas, and more clients than the metrics have rows for. The usage of some clients
    /// could not be counted separately.
    #[error("quotas are possible for at most {0} clients; remove clients, or all quotas")]
    TooMany(usize),
    /// A quota line without limits.
    #[error("a quota needs a client's name or *, and limits such as tokens=1000000/day, or off")]
    NoQuota,
    /// A client has two quotas.
    #[error("two quotas for \"{0}\", put their limits on one line")]
    SameQuota(String),
    /// A quota for an unknown client.
    #[error("unknown client \"{0}\"; define it by \"client {0} ...\", or correct the name")]
    NobodysQuota(String),
    /// Another client has the same token.
    #[error(
        "clients \"{first}\" and \"{second}\" have the same token, use another for one of them"
    )]
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

//! The clients of the gateway: who may use it, by which token, and how urgently.

mod directive;
mod error;
mod headers;
mod quota;
mod table;
#[cfg(test)]
mod tests;

pub use directive::{ClientDirective, TokenSource};
pub use error::{ClientError, TokenError};
pub use headers::{bearer_token, is_credential_header, secret_of, service_token, tells_secret};
pub(crate) use quota::LIMITS;
pub use quota::{Limit, Measure, Period, Quota, QuotaDirective, Whose};
pub use table::Clients;

use std::fmt;

/// The priorities that a client may have; the higher is served first.
pub const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;

/// Someone who may use the gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// The service's name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Its place among those who wait, within [`PRIORITIES`].
    pub priority: i32,
    /// How much it may use, if that is bounded.
    pub quota: Quota,
    /// The SHA-256 of its token.
    digest: [u8; 32],
}

impl Client {
    /// The service whose locks and figures it may see, if not those of all.
    #[must_use]
    pub fn sees_only(&self) -> Option<&str> {
        match self.role {
            Role::Service => Some(&self.name),
            Role::Admin => None,
        }
    }
}

/// Without the digest: a weak token could be guessed from it.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

/// What a client may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Use the API.
    #[default]
    Service,
    /// Use the API, and administer the gateway.
    Admin,
}

impl Role {
    /// Its name in the configuration and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Admin => "admin",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Service, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

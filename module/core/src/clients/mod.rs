//! Clients of the gateway: their tokens, roles, priorities and quotas.

mod directive;
mod error;
mod headers;
mod quota;
mod table;
#[cfg(test)]
mod tests;

pub use directive::ClientDirective;
pub use error::{ClientError, TokenError};
pub use headers::{bearer_token, contains_secret, is_credential_header, secret_of, service_token};
pub(crate) use quota::LIMITS;
pub use quota::{Measure, Period, Quota, QuotaDirective, QuotaLimit, Whose};
pub use table::Clients;

use std::fmt;

/// Range of priorities; requests with a higher one are served first.
pub const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;

/// A client of the gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// Name of the service.
    pub name: String,
    /// Role of the client.
    pub role: Role,
    /// Priority in the queue, within [`PRIORITIES`].
    pub priority: i32,
    /// Quota of the client.
    pub quota: Quota,
    /// SHA-256 of the token.
    digest: [u8; 32],
}

impl Client {
    /// The only service whose locks and stats the client may see; `None` for all.
    #[must_use]
    pub fn sees_only(&self) -> Option<&str> {
        match self.role {
            Role::Service => Some(&self.name),
            Role::Admin => None,
        }
    }
}

/// Omits the digest, from which a weak token could be guessed.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

/// Role of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// May use the API.
    #[default]
    Service,
    /// May use the API and administer the gateway.
    Admin,
}

impl Role {
    /// The name in the configuration and in logs.
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

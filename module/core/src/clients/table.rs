//! The table of clients, with lookup in constant time.

use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::{
    Client, ClientDirective, ClientError, Quota, QuotaDirective, Role, TokenError, Whose,
    bearer_token, service_token,
};
use crate::keys::is_header_text;

pub(super) const MIN_TOKEN: usize = 8;

/// The development clients: token, name, role.
const DEV_CLIENTS: [(&str, &str, Role); 2] = [
    ("dev-token", "dev", Role::Service),
    ("admin-token", "dev-admin", Role::Admin),
];

/// All clients of the gateway.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    clients: Vec<Client>,
}

impl Clients {
    /// Adds the client of a directive. `text` is the content of its source: the value of the
    /// variable or the content of the file, empty when there is none.
    ///
    /// # Errors
    /// When it contains no valid and safe token, or another client has the same name or token.
    pub fn add(&mut self, directive: &ClientDirective, text: &str) -> Result<(), ClientError> {
        let name = directive.name.clone();
        let token = directive.source.token(text);
        if token.is_empty() {
            return Err(ClientError::NoToken {
                name,
                place: directive.source.to_string(),
            });
        }
        if !is_header_text(token.as_bytes()) {
            return Err(ClientError::InvalidToken { name });
        }
        if token.len() < MIN_TOKEN {
            return Err(ClientError::ShortToken { name });
        }
        if DEV_CLIENTS.iter().any(|(dev, ..)| *dev == token) {
            return Err(ClientError::DevToken { name });
        }
        let (role, priority) = (directive.role, directive.priority);
        self.push(Client {
            name,
            role,
            priority,
            quota: Quota::default(),
            digest: digest(token.as_bytes()),
        })
    }

    /// Adds the clients `dev` and `dev-admin`, whose tokens are publicly known. For development
    /// only.
    ///
    /// # Errors
    /// When a client has one of these names.
    pub fn with_dev_tokens(mut self) -> Result<Self, ClientError> {
        for (token, name, role) in DEV_CLIENTS {
            let digest = digest(token.as_bytes());
            self.push(Client {
                name: name.to_owned(),
                role,
                priority: 0,
                quota: Quota::default(),
                digest,
            })?;
        }
        Ok(self)
    }

    /// Assigns quotas to the clients. A client's own quota replaces the quota for all.
    ///
    /// # Errors
    /// When a client has two quotas, or does not exist.
    pub fn bound(&mut self, quotas: &[QuotaDirective]) -> Result<(), ClientError> {
        for (at, QuotaDirective { whose, .. }) in quotas.iter().enumerate() {
            if quotas[..at].iter().any(|other| other.whose == *whose) {
                let whose = whose.to_string();
                return Err(ClientError::SameQuota { whose });
            }
            if let Whose::Of(name) = whose
                && !self.clients.iter().any(|client| client.name == *name)
            {
                return Err(ClientError::NobodysQuota { name: name.clone() });
            }
        }
        for client in &mut self.clients {
            let own = |line: &&QuotaDirective| matches!(&line.whose, Whose::Of(name) if *name == client.name);
            let all = || quotas.iter().find(|line| line.whose == Whose::All);
            if let Some(line) = quotas.iter().find(own).or_else(all) {
                client.quota = line.quota.clone();
            }
        }
        Ok(())
    }

    fn push(&mut self, client: Client) -> Result<(), ClientError> {
        for other in &self.clients {
            if other.name == client.name {
                return Err(ClientError::SameName { name: client.name });
            }
            if other.digest == client.digest {
                let first = other.name.clone();
                return Err(ClientError::SameToken {
                    first,
                    second: client.name,
                });
            }
        }
        self.clients.push(client);
        Ok(())
    }

    /// All clients, in the order of the configuration.
    #[must_use]
    pub fn as_slice(&self) -> &[Client] {
        &self.clients
    }

    /// The client with this token.
    ///
    /// The time does not depend on the client's position, or on whether it exists.
    #[must_use]
    pub fn find(&self, token: &[u8]) -> Option<&Client> {
        let digest = digest(token);
        let mut found = u32::MAX;
        for (index, client) in (0_u32..).zip(&self.clients) {
            found.conditional_assign(&index, client.digest.ct_eq(&digest));
        }
        self.clients.get(found as usize)
    }

    /// The client of a request, by the values of `Authorization` and `X-Service-Token`. The first
    /// with a client's token decides.
    ///
    /// # Errors
    /// When there is no token, or none of a client.
    pub fn identify(
        &self,
        authorization: Option<&[u8]>,
        service: Option<&[u8]>,
    ) -> Result<&Client, TokenError> {
        let bearer = authorization.and_then(bearer_token);
        let service = service.and_then(service_token);
        if bearer.is_none() && service.is_none() {
            return Err(TokenError::Missing);
        }
        let mut tokens = [bearer, service].into_iter().flatten();
        tokens
            .find_map(|token| self.find(token))
            .ok_or(TokenError::Unknown)
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

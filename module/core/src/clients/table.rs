//! The table of clients. The time of a lookup does not depend on which client is found.

use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::{
    Client, ClientDirective, ClientError, Quota, QuotaDirective, Role, TokenError, Whose,
    bearer_token, service_token,
};
use crate::keys::is_header_text;
use crate::metrics::{MAX_SERVICES, OTHER};

pub(super) const MIN_TOKEN: usize = 8;

/// The development clients, which have publicly known tokens: token, name, role.
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
    /// When it contains no valid token, or another client has the same name or token.
    pub fn add(&mut self, directive: &ClientDirective, text: &str) -> Result<(), ClientError> {
        let name = directive.name.clone();
        let token = directive.token(text);
        if token.is_empty() {
            return Err(ClientError::NoToken {
                name,
                place: directive.source.to_string(),
            });
        }
        if !is_header_text(token.as_bytes()) {
            return Err(ClientError::InvalidToken(name));
        }
        if token.len() < MIN_TOKEN {
            return Err(ClientError::ShortToken(name));
        }
        // The name of the metrics row that counts all clients without a row of their own.
        if name == OTHER {
            return Err(ClientError::Reserved(name));
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

    /// Applies the development mode after all clients have been added. In development mode the
    /// publicly known development tokens are accepted: for each of them that no client has, the
    /// client `dev` or `dev-admin` is added.
    ///
    /// # Errors
    /// When a client has one of these tokens outside development mode, or one of these names in
    /// development mode.
    pub fn with_dev_mode(mut self, is_on: bool) -> Result<Self, ClientError> {
        for (token, name, role) in DEV_CLIENTS {
            let digest = digest(token.as_bytes());
            let owner = self.clients.iter().find(|client| client.digest == digest);
            match owner {
                Some(owner) if !is_on => {
                    let name = owner.name.clone();
                    return Err(ClientError::DevToken(name));
                }
                None if is_on => self.push(Client {
                    name: name.to_owned(),
                    role,
                    priority: 0,
                    quota: Quota::default(),
                    digest,
                })?,
                _ => {}
            }
        }
        Ok(self)
    }

    /// Assigns quotas to the clients. A client's own quota replaces the quota for all.
    ///
    /// # Errors
    /// When a client has two quotas or does not exist, or when there are more clients than the
    /// metrics have rows for. The number is the index of the quota in `quotas`.
    pub fn bound(&mut self, quotas: &[QuotaDirective]) -> Result<(), (usize, ClientError)> {
        for (at, QuotaDirective { whose, .. }) in quotas.iter().enumerate() {
            if quotas[..at].iter().any(|other| other.whose == *whose) {
                let whose = whose.to_string();
                return Err((at, ClientError::SameQuota(whose)));
            }
            if let Whose::Of(name) = whose
                && !self.clients.iter().any(|client| client.name == *name)
            {
                return Err((at, ClientError::NobodysQuota(name.clone())));
            }
        }
        if !quotas.is_empty() && self.clients.len() > MAX_SERVICES {
            return Err((0, ClientError::TooMany(MAX_SERVICES)));
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
                return Err(ClientError::SameName(client.name));
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

    /// The position of the client with this token.
    ///
    /// The time does not depend on the position, or on whether there is such a client.
    #[must_use]
    pub fn find(&self, token: &[u8]) -> Option<usize> {
        let digest = digest(token);
        let mut found = u32::MAX;
        for (index, client) in (0_u32..).zip(&self.clients) {
            found.conditional_assign(&index, client.digest.ct_eq(&digest));
        }
        let found = found as usize;
        (found < self.clients.len()).then_some(found)
    }

    /// The position of a request's client, by the values of the headers `Authorization` and
    /// `X-Service-Token`. The first one that contains a client's token decides.
    ///
    /// # Errors
    /// When there is no token, or no client has one of the tokens.
    pub fn identify(
        &self,
        authorization: Option<&[u8]>,
        service: Option<&[u8]>,
    ) -> Result<usize, TokenError> {
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

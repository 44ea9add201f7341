//! `tls_*`: TLS for the `rediss://` nodes of a group.

use nginx_safe::{Conf, ConfResult, Tls, TlsContext, TlsName};

use super::lines::Statement;
use super::values;

/// The `tls_*` lines of a group.
#[derive(Default)]
pub struct TlsLines {
    pub trusted: Option<String>,
    pub verify: Option<bool>,
    pub name: Option<TlsName>,
    pub certificate: Option<String>,
    pub key: Option<String>,
}

/// TLS settings that the nodes of a group share.
pub struct GroupTls {
    context: TlsContext,
    name: Option<TlsName>,
}

impl TlsLines {
    /// Names of these directives.
    pub const NAMES: [&str; 5] = [
        "tls_trusted_certificate",
        "tls_verify",
        "tls_name",
        "tls_certificate",
        "tls_certificate_key",
    ];

    /// Reads one of these directives.
    pub fn read(&mut self, line: &mut Statement<'_>) {
        let [trusted, verify, name, certificate, key] = Self::NAMES;
        line.one(trusted, &mut self.trusted, values::text);
        line.one(verify, &mut self.verify, values::flag);
        line.one(name, &mut self.name, TlsName::new);
        line.one(certificate, &mut self.certificate, values::text);
        line.one(key, &mut self.key, values::text);
    }

    pub fn prepare(self, conf: &Conf) -> ConfResult<GroupTls> {
        let context = TlsContext::new(conf).map_err(|e| format!("rediss://: {e}"))?;
        if self.verify.unwrap_or(true) {
            context.verify();
        }
        match &self.trusted {
            Some(path) => context
                .trust(conf, path)
                .map_err(|e| format!("tls_trusted_certificate: {e}"))?,
            None => context.trust_system()?,
        }
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                context
                    .certificate(conf, certificate)
                    .map_err(|e| format!("tls_certificate: {e}"))?;
                context
                    .key(conf, key)
                    .map_err(|e| format!("tls_certificate_key: {e}"))?;
            }
            (Some(_), None) => return Err("tls_certificate: without tls_certificate_key".into()),
            (None, Some(_)) => return Err("tls_certificate_key: without tls_certificate".into()),
            (None, None) => {}
        }
        Ok(GroupTls {
            context,
            name: self.name,
        })
    }
}

impl GroupTls {
    /// Settings for the node at this host.
    pub fn of(&self, host: &str) -> ConfResult<Tls> {
        let name = self.name.clone().map_or_else(|| TlsName::new(host), Ok);
        Ok(Tls {
            context: self.context.clone(),
            name: name?,
        })
    }
}

//! `tls_*`: TLS for the `rediss://` nodes of a group.

use nginx_safe::{Conf, ConfResult, Tls, TlsContext, TlsName};

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
    /// Name of the first of these directives that is present.
    pub fn any(&self) -> Option<&'static str> {
        let is_there = [
            ("tls_trusted_certificate", self.trusted.is_some()),
            ("tls_verify", self.verify.is_some()),
            ("tls_name", self.name.is_some()),
            ("tls_certificate", self.certificate.is_some()),
            ("tls_certificate_key", self.key.is_some()),
        ];
        let mut there = is_there.into_iter().filter(|&(_, is_there)| is_there);
        there.next().map(|(name, _)| name)
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

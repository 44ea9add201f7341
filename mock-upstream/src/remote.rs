//! An API elsewhere, as a URL names it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use axum::http::Uri;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto};

/// A URL that leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// It is none.
    #[error("`{0}` is no http:// or https:// URL of a host")]
    Url(String),
    /// Its host is not known.
    #[error("cannot find {host}: {error}")]
    Host {
        /// The host.
        host: String,
        /// Why not.
        error: io::Error,
    },
    /// There is no TLS to be had.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A server, and how to reach it.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(crate) authority: String,
    /// The path of the URL, without a slash at its end.
    pub(crate) path: String,
}

impl Remote {
    pub(crate) fn find(url: &str) -> Result<Self, RemoteError> {
        let wrong = || RemoteError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (host, authority) = uri.host().zip(uri.authority()).ok_or_else(wrong)?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let host = host.trim_matches(['[', ']']);
        let found = (host, port).to_socket_addrs();
        let mut found = found.map_err(|error| RemoteError::Host {
            host: host.to_owned(),
            error,
        })?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
        Ok(Self {
            address: found.next().ok_or_else(wrong)?,
            tls: if https {
                Some((connector()?, name))
            } else {
                None
            },
            authority: authority.to_string(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)
    }
}

fn connector() -> Result<TlsConnector, rustls::Error> {
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let ring = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let remote = Remote::find("http://127.0.0.1:8080/v1/").expect("a URL");
        assert_eq!(remote.address, SocketAddr::from(([127, 0, 0, 1], 8080)));
        assert_eq!((remote.path.as_str(), remote.tls.is_none()), ("/v1", true));
        let remote = Remote::find("https://[::1]").expect("a URL");
        assert_eq!((remote.address.port(), remote.tls.is_some()), (443, true));
        for url in ["", "127.0.0.1:80", "ftp://127.0.0.1/", "http://", "/v1"] {
            assert!(
                matches!(Remote::find(url), Err(RemoteError::Url(_))),
                "{url}"
            );
        }
    }
}

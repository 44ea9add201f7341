//! The certificate of an HTTPS mock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// A certificate chain and its private key, ready to serve HTTPS (TLS 1.2 and 1.3, HTTP/1.1).
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The certificate is not PEM.
    #[error("the certificate is not in PEM form: {0}")]
    Certificate(pem::Error),
    /// The private key is not PEM.
    #[error("the private key is not in PEM form: {0}")]
    PrivateKey(pem::Error),
    /// Certificate and key are no pair, or of a kind not supported.
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// Takes a chain and a key in PEM form.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(TlsError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::PrivateKey)?;
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Reads a chain and a key from PEM files.
    pub fn from_pem_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        Self::from_pem(&read(chain.as_ref())?, &read(key.as_ref())?)
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong() {
        let certified = rcgen::generate_simple_self_signed(["localhost".into()]).expect("rcgen");
        let chain = certified.cert.pem();
        let key = certified.signing_key.serialize_pem();
        assert!(Tls::from_pem(chain.as_bytes(), key.as_bytes()).is_ok());

        let wrong = |chain: &str, key: &str| {
            Tls::from_pem(chain.as_bytes(), key.as_bytes()).expect_err("unusable")
        };
        assert!(matches!(wrong("", &key), TlsError::Unusable(_)));
        assert!(matches!(wrong(&chain, ""), TlsError::PrivateKey(_)));
        let other = rcgen::generate_simple_self_signed(["localhost".into()]).expect("rcgen");
        let other = other.signing_key.serialize_pem();
        assert!(matches!(wrong(&chain, &other), TlsError::Unusable(_)));
        let missing = Tls::from_pem_files("/nonexistent.pem", "/nonexistent.key");
        assert!(
            missing
                .expect_err("missing")
                .to_string()
                .contains("/nonexistent.pem")
        );
    }
}

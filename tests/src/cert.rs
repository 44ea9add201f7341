//! Certificates.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::gateway::directory;

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes a self-signed certificate for `localhost` in `dir`.
    pub fn create(dir: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .expect("a certificate can be made");
        Self::write(dir, "localhost", &made.cert.pem(), &made.signing_key)
    }

    fn write(dir: &Path, name: &str, cert: &str, key: &KeyPair) -> Self {
        let files = Self {
            cert: dir.join(format!("{name}.crt")),
            key: dir.join(format!("{name}.key")),
        };
        fs::write(&files.cert, cert).expect("the certificate can be written");
        fs::write(&files.key, key.serialize_pem()).expect("the key can be written");
        files
    }
}

/// Vouches for certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    /// One that nobody knows of.
    pub fn create() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let dir = directory();
        let name = dir.path().display().to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority can be made");
        fs::write(dir.path().join("authority.crt"), issuer.pem()).expect("it can be written");
        Self { issuer, dir }
    }

    /// Its own certificate.
    pub fn cert(&self) -> PathBuf {
        self.dir.path().join("authority.crt")
    }

    /// Makes a certificate for a host, or for an address.
    pub fn issue(&self, name: &str) -> Certificate {
        let params = CertificateParams::new([name.to_owned()]).expect("a name for a certificate");
        let key = KeyPair::generate().expect("a key can be made");
        let made = params.signed_by(&key, &self.issuer);
        let cert = made.expect("a certificate can be made").pem();
        Certificate::write(self.dir.path(), name, &cert, &key)
    }
}

//! Self-signed certificates for `localhost`.

use std::fs;
use std::path::{Path, PathBuf};

/// A self-signed certificate for `localhost` and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate, which is also its own authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes a certificate in `dir`.
    pub fn create(dir: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .expect("a certificate can be made");
        let files = Self {
            cert: dir.join("localhost.crt"),
            key: dir.join("localhost.key"),
        };
        fs::write(&files.cert, made.cert.pem()).expect("the certificate can be written");
        fs::write(&files.key, made.signing_key.serialize_pem()).expect("the key can be written");
        files
    }
}

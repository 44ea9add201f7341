//! Identification of keys without disclosing them.

use std::fmt;

use sha2::{Digest, Sha256};

const LEN: usize = 16;

/// The first half of a key's SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; LEN]);

impl Fingerprint {
    /// The fingerprint of a key.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let mut half = [0; LEN];
        half.copy_from_slice(&digest[..LEN]);
        Self(half)
    }

    /// The bytes of the fingerprint.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }
}

impl From<[u8; LEN]> for Fingerprint {
    fn from(bytes: [u8; LEN]) -> Self {
        Self(bytes)
    }
}

/// Writes lower-case hexadecimal digits. A precision limits their number.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2 * LEN).min(2 * LEN);
        for digit in 0..digits {
            let byte = self.0[digit / 2];
            let digit = if digit % 2 == 0 {
                byte >> 4
            } else {
                byte & 0xF
            };
            write!(f, "{digit:x}")?;
        }
        Ok(())
    }
}

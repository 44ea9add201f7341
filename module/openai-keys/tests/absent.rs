//! A build without the feature `age` recognizes and rejects encrypted files.
#![cfg(not(feature = "age"))]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use openai_keys::{EncryptionKey, open};
use zeroize::Zeroizing;

fn opened(text: &str) -> Result<String, String> {
    let key = EncryptionKey::parse("").expect("any text will do");
    let opened = open(Zeroizing::new(text.as_bytes().to_vec()), Ok(&key));
    opened
        .map(|text| text.to_string())
        .map_err(|e| e.to_string())
}

#[test]
fn an_encrypted_file_is_refused_with_the_reason() {
    for begins in [
        "age-encryption.org/v1\n",
        "-----BEGIN AGE ENCRYPTED FILE-----\n",
    ] {
        assert_eq!(
            opened(begins),
            Err(
                "is encrypted, and the module was built without support for it \
                 (the cargo feature `age`)"
                    .to_owned()
            )
        );
    }
}

#[test]
fn a_file_that_is_not_encrypted_is_read() {
    assert_eq!(opened("sk-test-1\n"), Ok("sk-test-1\n".to_owned()));
}

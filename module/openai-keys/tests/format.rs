//! Encrypted texts, and errors in them.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use openai_keys::{
    EncryptionKey, EncryptionKeyError, Recipient, encrypt, generate, is_encrypted, open,
};
use zeroize::Zeroizing;

const TEXT: &str = "sk-test-1\nsk-test-2 slots=2\n";

fn key(text: &str) -> EncryptionKey {
    EncryptionKey::parse(text).expect("a key")
}

fn sealed(key: &EncryptionKey) -> Vec<u8> {
    encrypt(TEXT.as_bytes(), &Recipient::Key(key)).expect("encrypted")
}

fn opened(bytes: &[u8], key: Result<&EncryptionKey, EncryptionKeyError>) -> Result<String, String> {
    let text = open(Zeroizing::new(bytes.to_vec()), key);
    text.map(|text| text.to_string()).map_err(|e| e.to_string())
}

#[test]
fn what_is_encrypted_with_a_key_is_decrypted_with_it() {
    for key in [key(&generate().0), key("correct horse battery staple")] {
        let bytes = sealed(&key);
        assert!(is_encrypted(&bytes));
        assert!(!String::from_utf8_lossy(&bytes).contains("sk-test"));
        assert_eq!(opened(&bytes, Ok(&key)), Ok(TEXT.to_owned()));
    }
}

#[test]
fn a_public_key_is_enough_to_encrypt() {
    let (secret, public) = generate();
    let bytes = encrypt(TEXT.as_bytes(), &Recipient::Public(&public)).expect("encrypted");
    assert_eq!(opened(&bytes, Ok(&key(&secret))), Ok(TEXT.to_owned()));
    assert!(encrypt(b"", &Recipient::Public("age1nobody")).is_err());
}

#[test]
fn old_identities_go_on_to_decrypt_beside_a_new_one() {
    let (old, new) = (generate().0, generate().0);
    let both = key(&format!("{}, {}\n", *new, *old));
    assert_eq!(opened(&sealed(&key(&old)), Ok(&both)), Ok(TEXT.to_owned()));
    // With two identities, the first is used to encrypt.
    let bytes = sealed(&both);
    assert_eq!(opened(&bytes, Ok(&key(&new))), Ok(TEXT.to_owned()));
    assert!(opened(&bytes, Ok(&key(&old))).is_err());
}

#[test]
fn white_space_before_the_armor_is_not_part_of_it() {
    let key = key(&generate().0);
    let bytes = [b" \r\n\n\t", &*sealed(&key)].concat();
    assert!(is_encrypted(&bytes));
    assert_eq!(opened(&bytes, Ok(&key)), Ok(TEXT.to_owned()));
}

#[test]
fn the_output_of_age_keygen_is_an_identity() {
    let (secret, public) = generate();
    let file = format!(
        "# created: 2026-01-01\n# public key: {public}\n{}\n",
        *secret
    );
    assert_eq!(
        opened(&sealed(&key(&file)), Ok(&key(&secret))),
        Ok(TEXT.to_owned())
    );
    // In one line, as a shell may join it.
    for text in [file.replace('\n', " "), format!("words {}", *secret)] {
        let error = EncryptionKey::parse(&text).expect_err("not a passphrase");
        assert_eq!(error, EncryptionKeyError::Identity);
    }
    let passphrase = key("# a comment?");
    assert_eq!(
        opened(&sealed(&passphrase), Ok(&passphrase)),
        Ok(TEXT.to_owned())
    );
}

#[test]
fn a_plain_file_needs_no_key() {
    assert!(!is_encrypted(TEXT.as_bytes()));
    assert_eq!(
        opened(TEXT.as_bytes(), Err(EncryptionKeyError::Empty)),
        Ok(TEXT.to_owned())
    );
    assert_eq!(
        opened(b"sk-\xff", Err(EncryptionKeyError::Empty)),
        Err("is not UTF-8".to_owned())
    );
}

#[test]
fn a_key_is_an_identity_or_a_passphrase() {
    assert!(matches!(
        EncryptionKey::parse(" \n"),
        Err(EncryptionKeyError::Empty)
    ));
    for text in ["AGE-SECRET-KEY-1", "AGE-SECRET-KEY-PQ-1ABC"] {
        let error = EncryptionKey::parse(text).expect_err("a mistake");
        assert_eq!(
            error.to_string(),
            "ENCRYPTION_KEY is not a valid age identity"
        );
    }
    let shown = format!("{:?}", key("secret"));
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn each_reason_not_to_decrypt_is_told() {
    let secret = key(&generate().0);
    let bytes = sealed(&secret);
    assert_eq!(
        opened(&bytes, Err(EncryptionKeyError::Empty)),
        Err("is encrypted, and ENCRYPTION_KEY is not set".to_owned())
    );
    let wrong = "cannot be decrypted: ENCRYPTION_KEY is not the one it was encrypted with";
    let passphrase = key("passphrase");
    let by_passphrase = sealed(&passphrase);
    for (bytes, key) in [
        (&bytes, &key(&generate().0)),
        (&bytes, &passphrase),
        (&by_passphrase, &key("another")),
        (&by_passphrase, &secret),
    ] {
        assert_eq!(opened(bytes, Ok(key)), Err(wrong.to_owned()));
    }
    let newer = b"age-encryption.org/v2\n-> X\n--- AAAA\n";
    assert!(opened(newer, Ok(&secret)).is_err_and(|e| e.contains("format")));
}

#[test]
fn a_damaged_file_is_told_from_a_wrong_key() {
    let secret = key(&generate().0);
    let bytes = sealed(&secret);
    let damaged = "cannot be decrypted: it is damaged";
    // Truncated after each line, or with one letter of the payload changed.
    let text = String::from_utf8(bytes).expect("armor");
    let lines: Vec<&str> = text.lines().collect();
    for kept in 1..lines.len() {
        let cut = lines[..kept].join("\n");
        assert_eq!(opened(cut.as_bytes(), Ok(&secret)), Err(damaged.to_owned()));
    }
    let last = lines[lines.len() - 2];
    let other = if last.starts_with('A') { "B" } else { "A" };
    let changed = text.replace(last, &format!("{other}{}", &last[1..]));
    assert_eq!(
        opened(changed.as_bytes(), Ok(&secret)),
        Err(damaged.to_owned())
    );
}

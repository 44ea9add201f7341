//! Headers that contain credentials.

use super::TOKEN;
use crate::clients::{
    bearer_token, contains_secret, is_credential_header, secret_of, service_token,
};

#[test]
fn a_bearer_token_is_read_whatever_the_case_of_the_scheme() {
    for value in ["Bearer abc", "bearer abc", "BEARER   abc", "Bearer\tabc \t"] {
        assert_eq!(
            bearer_token(value.as_bytes()),
            Some(&b"abc"[..]),
            "{value:?}"
        );
    }
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Bearerabc",
        "Basic abc",
        "abc",
        "Bearer a b",
        "Bearer a\0",
    ] {
        assert_eq!(bearer_token(value.as_bytes()), None, "{value:?}");
    }
    assert_eq!(service_token(b" abc "), Some(&b"abc"[..]));
    assert_eq!(service_token(b""), None);
    assert_eq!(service_token(b"a b"), None);
}

#[test]
fn credentials_are_known_by_the_names_of_their_headers() {
    for name in [
        "Authorization",
        "authorization",
        "Proxy-Authorization",
        "X-Service-Token",
        "X_Service_Token",
        "x_service-token",
        "x-api-key",
        "X_API_KEY",
        "api-key",
        "Api_Key",
    ] {
        assert!(is_credential_header(name.as_bytes()), "{name}");
    }
    for name in [
        "",
        "Accept",
        "x-api-key2",
        "api key",
        "X-Request-ID",
        "x-api.key",
    ] {
        assert!(!is_credential_header(name.as_bytes()), "{name}");
    }
}

#[test]
fn a_header_tells_a_secret_wherever_it_is_in_it() {
    for (credential, secret) in [
        ("Bearer tok-Secret-1", TOKEN),
        ("bearer \ttok-Secret-1 ", TOKEN),
        ("tok-Secret-1", TOKEN),
        ("  ", ""),
        ("", ""),
    ] {
        assert_eq!(secret_of(credential.as_bytes()), secret.as_bytes());
    }
    let contains = |value: &str, secret: &str| contains_secret(value.as_bytes(), secret.as_bytes());
    for value in [
        "tok-Secret-1",
        "Bearer tok-Secret-1",
        "a=1; t=tok-Secret-1; b",
    ] {
        assert!(contains(value, TOKEN), "{value}");
    }
    for value in ["", "tok-Secret-", "tok-secret-1", "ok-Secret-1"] {
        assert!(!contains(value, TOKEN), "{value}");
    }
    assert!(!contains("application/json", ""), "nothing is no secret");
    assert!(!contains("application/json", "a"), "shorter than any token");
    assert!(contains("Bearer a", "a"));
    assert!(contains("a", "a"));
}

//! Tokens in request headers.

use memchr::memmem;

use super::table::MIN_TOKEN;
use crate::keys::is_header_text;

const SCHEME: &[u8] = b"bearer";

/// The token in the value of the header `Authorization`, `Bearer <token>`. `None` for another
/// scheme or an invalid token.
#[must_use]
pub fn bearer_token(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = authorization.split_at_checked(SCHEME.len())?;
    let spaced = rest.first().is_some_and(u8::is_ascii_whitespace);
    if !spaced || !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    service_token(rest)
}

/// The token in the value of the header `X-Service-Token`; `None` if it is invalid.
#[must_use]
pub fn service_token(value: &[u8]) -> Option<&[u8]> {
    Some(value.trim_ascii()).filter(|token| is_header_text(token))
}

/// Whether a header with this name contains a client's credential, which must not be sent
/// upstream. Ignores case, and treats `_` as `-`, as many servers do.
#[must_use]
pub fn is_credential_header(name: &[u8]) -> bool {
    // Comparing the length first rules out most headers.
    let own: &[u8] = match name.len() {
        7 => b"api-key",
        9 => b"x-api-key",
        13 => b"authorization",
        15 => b"x-service-token",
        19 => b"proxy-authorization",
        _ => return false,
    };
    own.iter().zip(name).all(|(own, byte)| match byte {
        b'_' => *own == b'-',
        byte => *own == byte.to_ascii_lowercase(),
    })
}

/// The secret in the value of a credential header: the last word, without the scheme.
#[must_use]
pub fn secret_of(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    value
        .rsplit(u8::is_ascii_whitespace)
        .next()
        .unwrap_or(value)
}

/// Whether a header's value contains a secret that [`secret_of`] returned. A secret too short to be
/// a token must be the whole value, or the last word of the value.
#[must_use]
pub fn contains_secret(value: &[u8], secret: &[u8]) -> bool {
    if secret.is_empty() || secret.len() > value.len() {
        return false;
    }
    if secret.len() < MIN_TOKEN {
        return secret_of(value) == secret;
    }
    memmem::find(value, secret).is_some()
}

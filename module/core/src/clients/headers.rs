//! Tokens as they come in headers.

use crate::keys::is_header_text;

const SCHEME: &[u8] = b"bearer";

/// The token of `Authorization: Bearer <token>`.
#[must_use]
pub fn bearer_token(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = authorization.split_at_checked(SCHEME.len())?;
    let spaced = rest.first().is_some_and(u8::is_ascii_whitespace);
    if !spaced || !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    service_token(rest)
}

/// The token of `X-Service-Token: <token>`.
#[must_use]
pub fn service_token(value: &[u8]) -> Option<&[u8]> {
    Some(value.trim_ascii()).filter(|token| is_header_text(token))
}

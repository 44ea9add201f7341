//! Tokens that must never arrive upstream.

use std::fmt;
use std::str::FromStr;

use axum::http::HeaderMap;

use crate::fault;

/// A token that must not occur in any request header, such as the token by which a client
/// identifies itself to the gateway under test. Never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct DenyToken(Box<[u8]>);

/// An empty token would be found in every header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token to deny must not be empty")]
pub struct EmptyToken;

impl DenyToken {
    /// Takes the token's bytes as they would appear inside a header value.
    pub fn new(token: impl AsRef<[u8]>) -> Result<Self, EmptyToken> {
        match token.as_ref() {
            [] => Err(EmptyToken),
            bytes => Ok(Self(bytes.into())),
        }
    }

    /// Whether any header value contains the token; the header that asks for this very check
    /// does not count.
    pub(crate) fn occurs_in(&self, headers: &HeaderMap) -> bool {
        headers
            .iter()
            .filter(|(name, _)| name.as_str() != fault::DENY_TOKEN)
            .any(|(_, value)| self.is_part_of(value.as_bytes()))
    }

    fn is_part_of(&self, value: &[u8]) -> bool {
        value.windows(self.0.len()).any(|window| window == &*self.0)
    }
}

impl FromStr for DenyToken {
    type Err = EmptyToken;

    fn from_str(text: &str) -> Result<Self, EmptyToken> {
        Self::new(text.trim())
    }
}

impl fmt::Debug for DenyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DenyToken(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            axum::http::HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )])
    }

    #[test]
    fn is_found_anywhere_in_any_value_but_its_own_header() {
        let token = DenyToken::new("client-1").expect("not empty");
        assert!(token.occurs_in(&headers("authorization", "Bearer client-1")));
        assert!(token.occurs_in(&headers("cookie", "a=client-1; b=2")));
        assert!(!token.occurs_in(&headers("authorization", "Bearer client-2")));
        assert!(!token.occurs_in(&headers(fault::DENY_TOKEN, "client-1")));
    }

    #[test]
    fn is_never_shown_and_never_empty() {
        let token = DenyToken::new("client-1").expect("not empty");
        assert!(!format!("{token:?}").contains("client"));
        assert_eq!("  ".parse::<DenyToken>(), Err(EmptyToken));
    }
}

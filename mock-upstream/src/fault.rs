//! Faults and deviations that a request can ask for.
//!
//! A [`Fault`] is plain data, whoever asked for it; request headers are one way to ask. The
//! answering code looks only at the `Fault`.

use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode};

use crate::deny::DenyToken;
use crate::duration::parse_duration;

const PREFIX: &str = "x-mock-";
const DELAY: &str = "x-mock-delay";
const WORDS: &str = "x-mock-words";
const STATUS: &str = "x-mock-status";
const HEADER_DELAY: &str = "x-mock-header-delay";
const RESET_AFTER: &str = "x-mock-reset-after";
pub(crate) const DENY_TOKEN: &str = "x-mock-deny-token";

/// The most words that an answer may be asked to have.
pub(crate) const MAX_WORDS: u32 = 1_000_000;

/// How one answer is to differ from what the scenario says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    /// `X-Mock-Delay: 200ms`: the time between the words of a stream.
    pub delay: Option<Duration>,
    /// `X-Mock-Words: 100`: the number of words, the text repeated as often as needed.
    pub words: Option<u32>,
    /// `X-Mock-Status: 500`: an error answer of this status (400 to 599) in OpenAI's form.
    pub status: Option<StatusCode>,
    /// `X-Mock-Header-Delay: 2s`: the time that passes before the response headers.
    pub header_delay: Option<Duration>,
    /// `X-Mock-Reset-After: 3`: the connection is reset after so many chunks of a stream, be
    /// they words or not; 0 resets it before the response headers, whatever the path. An answer
    /// that is not streamed is whole at once, so only 0 touches it.
    pub reset_after: Option<u32>,
    /// `X-Mock-Deny-Token: secret`: a token that must not occur in any other header.
    pub deny_token: Option<DenyToken>,
}

/// An `X-Mock-…` header that cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No such header, most likely misspelt.
    #[error(
        "there is no header {0}; there are {DELAY}, {WORDS}, {STATUS}, {HEADER_DELAY}, \
         {RESET_AFTER} and {DENY_TOKEN}"
    )]
    Unknown(String),
    /// A known header with a value that says nothing.
    #[error("{header} must be {expected}")]
    Malformed {
        /// The header's name.
        header: &'static str,
        /// What its value should have been.
        expected: &'static str,
    },
}

impl FaultError {
    /// The offending header's name.
    pub fn header(&self) -> &str {
        match self {
            Self::Unknown(header) => header,
            Self::Malformed { header, .. } => header,
        }
    }
}

impl Fault {
    /// Reads what a request's headers ask for.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, FaultError> {
        let mut fault = Self::default();
        for (name, value) in headers {
            if name.as_str().starts_with(PREFIX) {
                fault.take(name.as_str(), value)?;
            }
        }
        Ok(fault)
    }

    fn take(&mut self, name: &str, value: &HeaderValue) -> Result<(), FaultError> {
        match name {
            DELAY => self.delay = Some(duration(DELAY, value)?),
            HEADER_DELAY => self.header_delay = Some(duration(HEADER_DELAY, value)?),
            WORDS => {
                let words = number(WORDS, value, "a number of words, 0 to 1000000")?;
                if words > MAX_WORDS {
                    return Err(FaultError::Malformed {
                        header: WORDS,
                        expected: "a number of words, 0 to 1000000",
                    });
                }
                self.words = Some(words);
            }
            RESET_AFTER => {
                let expected = "a number of chunks (0: before the response headers)";
                self.reset_after = Some(number(RESET_AFTER, value, expected)?);
            }
            STATUS => {
                let status: StatusCode = number(STATUS, value, "an error status, 400 to 599")?;
                if !status.is_client_error() && !status.is_server_error() {
                    return Err(FaultError::Malformed {
                        header: STATUS,
                        expected: "an error status, 400 to 599",
                    });
                }
                self.status = Some(status);
            }
            DENY_TOKEN => {
                let token =
                    DenyToken::new(value.as_bytes()).map_err(|_| FaultError::Malformed {
                        header: DENY_TOKEN,
                        expected: "a token",
                    })?;
                self.deny_token = Some(token);
            }
            unknown => return Err(FaultError::Unknown(unknown.to_owned())),
        }
        Ok(())
    }
}

fn duration(header: &'static str, value: &HeaderValue) -> Result<Duration, FaultError> {
    let text = value.to_str().ok();
    text.and_then(|text| parse_duration(text).ok())
        .ok_or(FaultError::Malformed {
            header,
            expected: "a duration such as 200, 200ms or 2s",
        })
}

fn number<T: FromStr>(
    header: &'static str,
    value: &HeaderValue,
    expected: &'static str,
) -> Result<T, FaultError> {
    let text = value.to_str().ok();
    text.and_then(|text| text.trim().parse().ok())
        .ok_or(FaultError::Malformed { header, expected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn read(pairs: &[(&'static str, &'static str)]) -> Result<Fault, FaultError> {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        Fault::from_headers(&pairs.collect())
    }

    #[test]
    fn reads_every_header() {
        let fault = read(&[
            ("x-mock-delay", "200ms"),
            ("x-mock-words", "100"),
            ("x-mock-status", "503"),
            ("x-mock-header-delay", "2s"),
            ("x-mock-reset-after", "0"),
            ("x-mock-deny-token", "secret"),
            ("x-other", "ignored"),
        ]);
        let expected = Fault {
            delay: Some(Duration::from_millis(200)),
            words: Some(100),
            status: Some(StatusCode::SERVICE_UNAVAILABLE),
            header_delay: Some(Duration::from_secs(2)),
            reset_after: Some(0),
            deny_token: DenyToken::new("secret").ok(),
        };
        assert_eq!(fault, Ok(expected));
    }

    #[test]
    fn names_the_header_that_cannot_be_obeyed() {
        for (header, value) in [
            ("x-mock-delay", "soon"),
            ("x-mock-words", "-1"),
            ("x-mock-words", "1000001"),
            ("x-mock-status", "200"),
            ("x-mock-status", "abc"),
            ("x-mock-header-delay", ""),
            ("x-mock-reset-after", "1.5"),
            ("x-mock-deny-token", ""),
            ("x-mock-latency", "1"),
        ] {
            let error = read(&[(header, value)]).expect_err(header);
            assert_eq!(error.header(), header);
            assert!(error.to_string().contains(header), "{error}");
        }
    }
}

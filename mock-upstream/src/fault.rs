//! Deviations that an answer can be asked to have.
//!
//! A [`Fault`] is plain data, whoever asked for it: a flag, a scenario file, an admin call or a
//! request header. The answering code looks only at the `Fault`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};

use crate::deny::DenyToken;
use crate::duration::parse_duration;
use crate::error::ErrorName;
use crate::latency::Latency;
use crate::script::Script;
use crate::settings::{SettingError, Settings, parsed, switch};

/// What a request header that asks for something begins with.
pub(crate) const PREFIX: &str = "x-mock-";
pub(crate) const DENY_TOKEN: &str = "x-mock-deny-token";

/// The most words that an answer may be asked to have.
const MAX_WORDS: u32 = 1_000_000;
const MAX_HUGE: usize = 64 << 20;

const A_LATENCY: &str = "a time such as 200ms, normal(50ms,10ms), lognormal(50ms,120ms) (p50, p95) or \
     20ms:60ms:200ms (p50:p95:p99)";
const A_DURATION: &str = "a duration such as 200, 200ms or 2s";
const A_SWITCH: &str = "true or false";
const CHUNKS: &str = "a number of chunks";
const CHUNKS_OR_NONE: &str = "a number of chunks (0: before the response headers)";

macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $name:literal $field:ident: $type:ty = $read:expr, $expected:expr; )+) => {
        /// How one answer is to differ from the usual one. Nothing set, nothing differs.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Fault {
            $( $(#[doc = $doc])+ pub $field: Option<$type>, )+
        }

        impl Fault {
            /// Name and meaning of every setting.
            pub const SETTINGS: &[(&str, &str)] = &[ $( ($name, concat!($($doc),+)), )+ ];

            /// Takes over what the other one sets.
            pub fn overlay(&mut self, other: &Self) {
                $( if other.$field.is_some() { self.$field.clone_from(&other.$field); } )+
            }
        }

        impl Settings for Fault {
            fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
                match name {
                    $( $name => {
                        let read: fn(&str) -> Option<$type> = $read;
                        let value = read(value).ok_or_else(|| SettingError::malformed(name, $expected))?;
                        self.$field = Some(value);
                    } )+
                    _ => return Err(SettingError::unknown(name, Self::names())),
                }
                Ok(())
            }
        }
    };
}

settings! {
    /// text of the answer; each word is a chunk
    "text" text: Text = |text| Some(Text::new(text)), "a text";
    /// true: streams the text, whether or not the body requests a stream
    "always-stream" always_stream: bool = switch, A_SWITCH;
    /// number of words, for which the text is repeated
    "words" words: u32 = |value| parsed(value).filter(|words| *words <= MAX_WORDS),
        "a number of words, 0 to 1000000";
    /// true: the text is that of the request's last message
    "echo" echo: bool = switch, A_SWITCH;
    /// time between words
    "delay" delay: Latency = parsed, A_LATENCY;
    /// time from the arrival of the request to the first word
    "first-token" first_token: Latency = parsed, A_LATENCY;
    /// time before the response headers
    "header-delay" header_delay: Latency = parsed, A_LATENCY;
    /// stop, length, tool_calls or content_filter
    "finish-reason" finish_reason: FinishReason = FinishReason::read,
        "stop, length, tool_calls or content_filter";
    /// number of tool calls in the answer, of functions that the request offers
    "tool-calls" tool_calls: u32 = |value| parsed(value).filter(|calls| *calls <= 128),
        "a number of tool calls, up to 128";
    /// arguments of those calls
    "tool-arguments" tool_arguments: Arc<str> = |text| Some(text.into()), "a text";
    /// full: every field of the real API; minimal: only those that every client reads
    "fields" fields: Fields = Fields::read, "full or minimal";
    /// true: pads chunks as the real API does; by default as include_obfuscation of the request
    "obfuscation" obfuscation: bool = switch, A_SWITCH;
    /// service_tier of the answer
    "service-tier" service_tier: Arc<str> = plain, "a word";
    /// true: requires a key, validates requests, and applies max_tokens and tool_choice, as the
    /// real API does
    "strict" strict: bool = switch, A_SWITCH;
    /// whether responses contain x-ratelimit headers; by default if the key has limits
    "rate-headers" rate_headers: bool = switch, A_SWITCH;
    /// status of an error, 400 to 599, in OpenAI's form
    "status" status: StatusCode =
        |value| parsed(value).filter(|s: &StatusCode| s.is_client_error() || s.is_server_error()),
        "an error status, 400 to 599";
    /// an error, by its code or type in the real API
    "error" error: ErrorName = parsed, ErrorName::EXPECTED;
    /// Retry-After of an error
    "retry-after" retry_after: Duration = duration, A_DURATION;
    /// x-should-retry of an error
    "should-retry" should_retry: bool = switch, A_SWITCH;
    /// TCP reset after this many chunks; 0: before the response headers
    "reset-after" reset_after: u32 = parsed, CHUNKS_OR_NONE;
    /// early close, without reset, after this many chunks; 0: before the response headers
    "close-after" close_after: u32 = parsed, CHUNKS_OR_NONE;
    /// stops sending after this many chunks
    "stall-after" stall_after: u32 = parsed, CHUNKS;
    /// how long it stops; by default forever
    "stall" stall: Duration = duration, A_DURATION;
    /// ends the stream with an error event after this many chunks
    "error-after" error_after: u32 = parsed, CHUNKS;
    /// sends one chunk of invalid JSON after this many chunks
    "malformed-after" malformed_after: u32 = parsed, CHUNKS;
    /// number of bytes per write
    "split" split: NonZeroUsize = parsed, "a number of bytes, from 1";
    /// puts a word of this many bytes before the text
    "huge-chunk" huge_chunk: usize = |value| parsed(value).filter(|bytes| *bytes <= MAX_HUGE),
        "a number of bytes, up to 67108864";
    /// true: omits data: [DONE]
    "no-done" no_done: bool = switch, A_SWITCH;
    /// true: compresses the response, whether or not the request accepts it
    "gzip" gzip: bool = switch, A_SWITCH;
    /// adds this number of bytes to Content-Length, such as 10 or -10
    "wrong-length" wrong_length: i64 = parsed, "a number of bytes to add, such as 10 or -10";
    /// a token that must not be in any other header of the request
    "deny-token" deny_token: DenyToken = |value| DenyToken::new(value).ok(), "a token";
}

impl Fault {
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Self::SETTINGS.iter().map(|(name, _)| *name)
    }

    /// What an error event in mid-stream is about.
    pub(crate) fn in_band_error(&self) -> ErrorName {
        self.error.unwrap_or(ErrorName::ServerError)
    }

    /// Whether the answer is an error from its first byte on.
    pub(crate) fn is_error(&self) -> bool {
        self.status.is_some() || (self.error.is_some() && self.error_after.is_none())
    }
}

/// The settings that a request's headers name, without the prefix.
pub(crate) fn headers(
    headers: &HeaderMap,
) -> impl Iterator<Item = Result<(&str, &str), SettingError>> {
    headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(PREFIX)?;
        let value = value.to_str();
        Some(match value {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(SettingError::malformed(name, "visible ASCII").prefixed(PREFIX)),
        })
    })
}

/// A text that is ready to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub(crate) Arc<Script>);

impl Text {
    /// Cuts a text into words.
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Script::new(text)))
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// It was complete.
    Stop,
    /// It reached the most tokens allowed.
    Length,
    /// The model wants tools to be called.
    ToolCalls,
    /// Something was left out.
    ContentFilter,
}

impl FinishReason {
    fn read(text: &str) -> Option<Self> {
        [
            Self::Stop,
            Self::Length,
            Self::ToolCalls,
            Self::ContentFilter,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == text.trim())
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// How much of the real API's objects is reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fields {
    /// Every field.
    #[default]
    Full,
    /// What every client reads, and no more.
    Minimal,
}

impl Fields {
    fn read(text: &str) -> Option<Self> {
        match text.trim() {
            "full" => Some(Self::Full),
            "minimal" => Some(Self::Minimal),
            _ => None,
        }
    }
}

fn duration(value: &str) -> Option<Duration> {
    parse_duration(value).ok()
}

/// A word that may stand in JSON as it is.
fn plain(value: &str) -> Option<Arc<str>> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let value = value.trim();
    (!value.is_empty() && value.chars().all(fits)).then(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_can_be_read() {
        let good = [
            ("text", "hello"),
            ("always-stream", "true"),
            ("words", "100"),
            ("echo", "true"),
            ("delay", "200ms"),
            ("first-token", "200ms:1s:2s"),
            ("header-delay", "2s"),
            ("finish-reason", "content_filter"),
            ("tool-calls", "2"),
            ("tool-arguments", "{}"),
            ("fields", "minimal"),
            ("obfuscation", "on"),
            ("service-tier", "priority"),
            ("strict", "1"),
            ("rate-headers", "off"),
            ("status", "503"),
            ("error", "insufficient_quota"),
            ("retry-after", "20s"),
            ("should-retry", "false"),
            ("reset-after", "0"),
            ("close-after", "3"),
            ("stall-after", "3"),
            ("stall", "10s"),
            ("error-after", "3"),
            ("malformed-after", "3"),
            ("split", "1"),
            ("huge-chunk", "1048576"),
            ("no-done", "true"),
            ("gzip", "true"),
            ("wrong-length", "-10"),
            ("deny-token", "secret"),
        ];
        let mut all = Fault::default();
        for (name, value) in good {
            let before = all.clone();
            all.set(name, value).expect(name);
            assert_ne!(all, before, "{name}");
        }
        assert_eq!(
            Fault::names().collect::<Vec<_>>(),
            good.map(|(name, _)| name)
        );
        let mut copy = Fault::default();
        copy.overlay(&all);
        assert_eq!(copy, all);
    }

    #[test]
    fn names_the_setting_that_cannot_be_obeyed() {
        for (name, value) in [
            ("delay", "soon"),
            ("words", "-1"),
            ("words", "1000001"),
            ("status", "200"),
            ("status", "abc"),
            ("error", "oops"),
            ("header-delay", ""),
            ("reset-after", "1.5"),
            ("deny-token", ""),
            ("split", "0"),
            ("echo", "maybe"),
            ("service-tier", "a\"b"),
            ("latency", "1"),
        ] {
            let error = Fault::default().set(name, value).expect_err(name);
            assert_eq!(error.name(), name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

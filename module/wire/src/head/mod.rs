//! The head of a request: the fields of a JSON body that the gateway needs.
//!
//! [`HeadScanner`] takes the body in pieces cut at any byte and finds four fields of the
//! top-level object: `model`, `stream`, `stream_options.include_usage` and `user`, and the
//! numbers that limit the length of the response. The rest is validated and skipped. No tree is
//! built and nothing is allocated: the texts of `model` and `user` are stored inline, up to a
//! limit. Long strings cost no more than a search for their end.
//!
//! # What counts as JSON
//!
//! The grammar of RFC 8259: a value with whitespace around it and nothing else, no byte order
//! mark. Only an object has a head. The module `json` lists three exceptions.
//!
//! Text that is not valid Unicode is read as U+FFFD in the stored fields. Nesting beyond
//! [`MAX_DEPTH`] is rejected. If a key is repeated, the last value counts, as in most parsers.
//! `null` counts as absent, as with OpenAI.

mod scanner;
#[cfg(test)]
mod tests;
mod text;

pub use crate::json::MAX_DEPTH;
pub use scanner::HeadScanner;
pub use text::Captured;

use std::ops::Range;

/// Maximum length of a stored model name, in bytes.
pub const MAX_MODEL: usize = 128;
/// Maximum length of a stored user name, in bytes.
pub const MAX_USER: usize = 256;

/// The top-level fields of a body. If a key is repeated, the last value counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// `model`.
    pub model: Captured<MAX_MODEL>,
    /// Position of the string value of `model`, with quotes.
    pub model_at: Option<Range<u64>>,
    /// `stream`; an explicit `false` differs from an absent field.
    pub stream: Option<bool>,
    /// `stream_options.include_usage`.
    pub include_usage: Option<bool>,
    /// `user`.
    pub user: Captured<MAX_USER>,
    /// Where `stream_options` can request the usage, if it does not yet.
    pub options: Options,
    /// Position of the closing brace of the body; 0 if the body is an empty object.
    pub end_at: u64,
    /// Length of `messages`, `prompt` or `input`, whichever is last, in bytes.
    pub prompt_bytes: u64,
    /// The last of `max_tokens`, `max_completion_tokens` and `max_output_tokens` that is a whole
    /// number of 32 bits.
    pub max_tokens: Option<u32>,
    /// `n`, the number of requested responses, if it is such a number.
    pub choices: Option<u32>,
    /// The first field, in the order of [`Field`], whose value has a wrong type. It counts as
    /// absent above.
    pub wrong_kind: Option<Field>,
}

/// State and position of `stream_options`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Options {
    /// Absent.
    #[default]
    Absent,
    /// `null`, at this byte.
    Null(u64),
    /// An empty object, at this byte.
    Empty(u64),
    /// An object without `include_usage`, at this byte.
    Object(u64),
    /// It contains `include_usage`, or is not an object.
    Said,
}

impl Head {
    /// The edit that requests the usage of a stream that does not state whether to include it:
    /// the range to replace, and the replacement.
    #[must_use]
    pub fn asking_for_usage(&self) -> Option<(Range<u64>, &'static str)> {
        if self.stream != Some(true) {
            return None;
        }
        let byte = |at: u64| at..at + 1;
        Some(match self.options {
            Options::Absent => (
                byte(self.end_at),
                r#","stream_options":{"include_usage":true}}"#,
            ),
            Options::Null(at) => (at..at + 4, r#"{"include_usage":true}"#),
            Options::Empty(at) => (byte(at), r#"{"include_usage":true"#),
            Options::Object(at) => (byte(at), r#"{"include_usage":true,"#),
            Options::Said => return None,
        })
    }
}

/// A field that the scanner reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `model`, a string.
    Model,
    /// `stream`, a boolean.
    Stream,
    /// `stream_options`, an object.
    StreamOptions,
    /// `stream_options.include_usage`, a boolean.
    IncludeUsage,
    /// `user`, a string.
    User,
}

impl Field {
    pub(crate) const ALL: [Self; 5] = [
        Self::Model,
        Self::Stream,
        Self::StreamOptions,
        Self::IncludeUsage,
        Self::User,
    ];

    /// The name in an error's `param`.
    #[must_use]
    pub const fn param(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Stream => "stream",
            Self::StreamOptions => "stream_options",
            Self::IncludeUsage => "stream_options.include_usage",
            Self::User => "user",
        }
    }
}

/// Why a body is invalid. Offsets count bytes from the start of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not JSON, or truncated.
    #[error("not JSON: unexpected byte or end at offset {offset}")]
    Malformed {
        /// Position of the first invalid byte, or the length of a truncated body.
        offset: u64,
    },
    /// JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("JSON nested deeper than {MAX_DEPTH} levels at offset {offset}")]
    TooDeep {
        /// Position of the bracket that exceeds the limit.
        offset: u64,
    },
}

//! The head of a request: what the gateway reads of a JSON body as it passes.
//!
//! [`HeadScanner`] takes the body in pieces cut at any byte and finds four fields
//! of the top-level object: `model`, `stream`, `stream_options.include_usage` and
//! `user`; and, for estimates, the numbers that bound the answer. The rest is checked
//! and skipped: no tree is built, nothing is copied or allocated, and long strings cost
//! no more than a search for their end.
//!
//! # What counts as JSON
//!
//! The grammar of RFC 8259 with an object at the top, whitespace around it and
//! nothing else; no byte order mark. Three things are taken more lightly:
//!
//! - raw control characters inside strings are accepted;
//! - strings are not checked to be UTF-8;
//! - `\u` escapes may name lone surrogates.
//!
//! Whatever is no Unicode text reads as U+FFFD in the fields that are kept. Nesting
//! past [`MAX_DEPTH`] is refused. Of a key given twice the last one counts, as in
//! most parsers, and `null` counts as absent, as in OpenAI's.

mod capture;
mod count;
mod found;
mod nesting;
mod number;
mod scanner;
mod string;
#[cfg(test)]
mod tests;
mod text;

pub(super) use capture::Capture;
pub use nesting::MAX_DEPTH;
pub use scanner::HeadScanner;
pub(super) use string::{Part, Scanned, Skip, scan as scan_string};
pub use text::{Captured, Text};

use std::ops::Range;

/// The longest model name that is kept, in bytes.
pub const MAX_MODEL: usize = 128;
/// The longest user name that is kept, in bytes.
pub const MAX_USER: usize = 256;

/// What a body says at its top level. Where a key stands twice, the last value counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// `model`.
    pub model: Captured<MAX_MODEL>,
    /// Where the string lies that is the value of `model`, quotes included.
    pub model_at: Option<Range<u64>>,
    /// `stream`; an explicit `false` is not the same as none.
    pub stream: Option<bool>,
    /// `stream_options.include_usage`.
    pub include_usage: Option<bool>,
    /// `user`.
    pub user: Captured<MAX_USER>,
    /// Where `stream_options` could be told to include the usage, if it does not say.
    pub options: Options,
    /// Where the closing brace of the body is.
    pub end_at: u64,
    /// The length of `messages`, `prompt` or `input`, the last of these, in bytes.
    pub prompt_bytes: u64,
    /// The last of `max_tokens`, `max_completion_tokens` and `max_output_tokens` that is a
    /// whole number of 32 bits.
    pub max_tokens: Option<u32>,
    /// `n`, how many answers are wanted, if it is such a number.
    pub choices: Option<u32>,
    /// The first field, in the order of [`Field`], whose value is of another kind
    /// than OpenAI takes there; it reads as absent above.
    pub wrong_kind: Option<Field>,
}

/// Where `stream_options` is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Options {
    /// Nowhere.
    #[default]
    Absent,
    /// A `null` begins at this byte.
    Null(u64),
    /// An object without members begins at this byte.
    Empty(u64),
    /// An object with members, but `include_usage`, begins at this byte.
    Object(u64),
    /// It says whether the usage is to be included, or is no object.
    Said,
}

impl Head {
    /// What asks for the usage in a stream that does not say whether it shall tell it:
    /// the part of the body to be replaced, and what with.
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

/// A field that the scanner knows.
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
    /// Its name as OpenAI writes it in an error's `param`.
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

/// Why a body has no head. Offsets count bytes from the start of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not a JSON object; at the end of the body when it was cut short.
    #[error("not a JSON object: unexpected byte or end at offset {offset}")]
    Malformed {
        /// The first byte that cannot be, or the length of a truncated body.
        offset: u64,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("JSON nested deeper than {MAX_DEPTH} levels at offset {offset}")]
    TooDeep {
        /// The bracket that opens one level too many.
        offset: u64,
    },
}

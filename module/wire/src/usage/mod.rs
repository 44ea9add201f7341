//! Usage of a response: the tokens that it states, read while it is streamed.
//!
//! [`UsageScanner`] takes a response in pieces cut at any byte, delays none of them, and keeps
//! little state. It searches most bytes only for relevant keys. JSON is parsed from the first
//! `"usage"` to the end of that document, which is short, since OpenAI puts it last.
//!
//! An object `usage` counts if it has numbers of tokens, none above [`MOST_TOKENS`]. Since it is
//! found by search, its depth is determined afterwards, by the number of brackets that close
//! after it. In a body it must be in the outermost object; in an event also one level deeper
//! (`response.completed` has it there). Deeper objects of that name are ignored: a client may
//! have put them into a tool's schema. The last document counts.

mod familiar;
mod object;
mod scanner;
mod strip;
#[cfg(test)]
mod tests;

pub use scanner::UsageScanner;
pub use strip::{Stripped, UsageStripper};

/// Tokens by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Prompt or input tokens, including cached ones.
    pub prompt: u64,
    /// Completion or output tokens, including reasoning.
    pub completion: u64,
    /// Cached prompt tokens.
    pub cached: u64,
    /// Reasoning tokens.
    pub reasoning: u64,
}

/// Highest plausible number of prompt or completion tokens of a response. A higher one would
/// distort the metrics permanently.
pub const MOST_TOKENS: u64 = 100_000_000;

impl Tokens {
    /// Whether one request can have used that many tokens.
    #[must_use]
    pub const fn is_plausible(&self) -> bool {
        self.prompt <= MOST_TOKENS && self.completion <= MOST_TOKENS
    }
}

/// Source of token counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// No token counts.
    #[default]
    None,
    /// Stated in the response.
    Exact,
    /// Estimated from the length of the texts.
    Estimated,
}

impl Source {
    /// The name in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Exact => "exact",
            Self::Estimated => "estimated",
        }
    }
}

/// Usage of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// The tokens.
    pub tokens: Tokens,
    /// Their source.
    pub source: Source,
}

impl Used {
    /// The estimated usage of a prompt of this many bytes, and of a response of this many tokens.
    #[must_use]
    pub fn estimated(prompt_bytes: u64, completion: u64) -> Self {
        if prompt_bytes == 0 && completion == 0 {
            return Self::default();
        }
        let tokens = Tokens {
            prompt: prompt_bytes.div_ceil(TOKEN_BYTES),
            completion,
            ..Tokens::default()
        };
        let source = Source::Estimated;
        Self { tokens, source }
    }
}

/// The text of a response seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SeenText {
    /// Number of pieces of text: one per event of a stream.
    pub pieces: u64,
    /// Their length in JSON, in bytes.
    pub bytes: u64,
}

/// Approximate number of bytes per token of English text.
const TOKEN_BYTES: u64 = 4;
/// Pieces longer than this on average contain several tokens each.
const PIECE_BYTES: u64 = 8;

impl SeenText {
    /// Estimated tokens of the text. Servers send one or few tokens per event: short pieces are
    /// counted, otherwise the bytes are.
    #[must_use]
    pub const fn estimated(self, stream: bool) -> u64 {
        if stream && self.bytes <= self.pieces.saturating_mul(PIECE_BYTES) {
            self.pieces
        } else {
            self.bytes.div_ceil(TOKEN_BYTES)
        }
    }
}

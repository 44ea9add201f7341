//! What an answer has used: the tokens that it tells of as it passes.
//!
//! [`UsageScanner`] takes an answer in pieces cut at any byte, holds none of them
//! back, and keeps no more than a few words of state. Of most bytes it only searches
//! for a key that matters; it reads JSON from the first `"usage"` to the end of that
//! document, which is short: OpenAI puts it last.
//!
//! What counts is an object `usage` that tells a number of tokens, none beyond [`MOST_TOKENS`]. Since it is found by
//! search, its place is judged from behind: by how many brackets close after it. In a
//! body it has to be in the outermost object; in an event one level deeper is as good
//! (`response.completed` has it there). An object of that name further inside, as a
//! client may have put into a tool's schema, is not it. The last document counts.

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
    /// Of the prompt or input, cached ones included.
    pub prompt: u64,
    /// Of the completion or output, reasoning included.
    pub completion: u64,
    /// Those of the prompt that the upstream had cached.
    pub cached: u64,
    /// Those of the completion that were spent on reasoning.
    pub reasoning: u64,
}

/// The most tokens of a prompt, and of a completion, that an answer is believed to tell of. A
/// number beyond it would spoil the totals for good.
pub const MOST_TOKENS: u64 = 100_000_000;

impl Tokens {
    /// Whether one request can have used so many.
    #[must_use]
    pub const fn is_plausible(&self) -> bool {
        self.prompt <= MOST_TOKENS && self.completion <= MOST_TOKENS
    }
}

/// Where a count of tokens is from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// There is none.
    #[default]
    None,
    /// The answer told.
    Exact,
    /// It is worked out from what has been seen of the texts.
    Estimated,
}

impl Source {
    /// Its name in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Exact => "exact",
            Self::Estimated => "estimated",
        }
    }
}

/// What has been seen of the text of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Content {
    /// Pieces of text: one in each event of a stream.
    pub pieces: u64,
    /// Their bytes, as they stand in JSON.
    pub bytes: u64,
}

/// A token of English text has about so many bytes.
const TOKEN_BYTES: u64 = 4;
/// Pieces that are longer than this on average hold several tokens each.
const PIECE_BYTES: u64 = 8;

/// About how many tokens a prompt has.
#[must_use]
pub const fn estimated_prompt(bytes: u64) -> u64 {
    bytes.div_ceil(TOKEN_BYTES)
}

impl Content {
    /// About how many tokens it is. Servers send a token in an event, or few: where the
    /// pieces are short they are counted, else their bytes are.
    #[must_use]
    pub const fn estimated(self, stream: bool) -> u64 {
        if stream && self.bytes <= self.pieces.saturating_mul(PIECE_BYTES) {
            self.pieces
        } else {
            self.bytes.div_ceil(TOKEN_BYTES)
        }
    }
}

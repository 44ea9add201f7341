//! What the mock answers.

use std::time::Duration;

use crate::deny::DenyToken;

/// What the mock answers, and how fast; the defaults are those of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    pub(crate) text: String,
    pub(crate) delay: Duration,
    pub(crate) deny_tokens: Vec<DenyToken>,
    pub(crate) slots: Option<usize>,
}

impl Scenario {
    /// The text of every answer, unless told otherwise.
    pub const DEFAULT_TEXT: &'static str = "powered by openai";
    /// The time between two words of a stream, unless told otherwise.
    pub const DEFAULT_DELAY: Duration = Duration::from_millis(50);

    /// "powered by openai", 50 ms between words, no token denied.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the text of every answer; each word becomes a chunk.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// Sets the time between two words of a stream; zero streams as fast as the client reads.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Adds a token that must never arrive in any request header.
    #[must_use]
    pub fn deny_token(mut self, token: DenyToken) -> Self {
        self.deny_tokens.push(token);
        self
    }

    /// Sets how many requests of a key may be in flight at once. Whatever exceeds it is recorded
    /// one by one: see [`MockServer::overlaps`](crate::MockServer::overlaps).
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = Some(slots);
        self
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            text: Self::DEFAULT_TEXT.to_owned(),
            delay: Self::DEFAULT_DELAY,
            deny_tokens: Vec::new(),
            slots: None,
        }
    }
}

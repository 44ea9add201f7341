//! Formats of OpenAI's API: request heads, errors, rate-limit headers, verdicts on responses,
//! model names and usage.
#![forbid(unsafe_code)]

pub mod chunked;
pub mod error;
pub mod events;
pub mod head;
mod json;
pub mod limits;
pub mod probe;
pub mod restore;
pub mod usage;
pub mod verdict;

pub use error::ApiError;
pub use events::EventEnd;
pub use head::{Head, HeadError, HeadScanner};
pub use limits::Limits;
pub use restore::Restorer;
pub use usage::{MOST_TOKENS, Tokens, UsageScanner};
pub use verdict::{ErrorHead, Verdict, depends_on_body, verdict};

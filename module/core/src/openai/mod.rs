//! What the gateway knows of OpenAI's API: the head of a request, the form of an error,
//! the usage in an answer.

pub mod error;
pub mod head;
pub mod usage;

pub use error::ApiError;
pub use head::{Head, HeadError, HeadScanner};
pub use usage::{Tokens, UsageScanner};

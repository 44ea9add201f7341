//! What the gateway knows of OpenAI's API: the head of a request, the form of an error.

pub mod error;
pub mod head;

pub use error::ApiError;
pub use head::{Head, HeadError, HeadScanner};

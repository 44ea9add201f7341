//! What the gateway knows of OpenAI's API: the head of a request, the form of an error,
//! what an answer says of the key, its limits, the model and the usage.

pub mod error;
pub mod events;
pub mod head;
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
pub use verdict::{ErrorHead, Verdict, verdict};

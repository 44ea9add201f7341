//! The refusal of a request.

use std::cell::Cell;

use openai_wire::ApiError;

/// The refusal of a request.
#[derive(Default)]
pub struct RefusalState {
    /// Why the request is refused.
    pub error: Cell<Option<ApiError>>,
    pub reply: Cell<Reply>,
}

/// State of the response that replaces nginx's error page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    #[default]
    Nginx,
    Announced(ApiError),
    Sent,
}

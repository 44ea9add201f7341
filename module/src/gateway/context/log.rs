//! State for logs and metrics.

use std::cell::{Cell, OnceCell};

use crate::gateway::trace::Ids;

/// State for logs and metrics.
#[derive(Default)]
pub struct LogState {
    /// Whether the request has been counted.
    pub counted: Cell<bool>,
    /// Ids of the request, once they have been needed.
    pub trace: OnceCell<Box<Ids>>,
}

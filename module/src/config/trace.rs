//! `openai_trace` and `openai_process_time_header`: ids and processing times of requests.

/// Settings of tracing at one level; `None` is inherited.
#[derive(Default)]
pub struct Trace {
    pub(super) on: Option<bool>,
    pub(super) process_time: Option<bool>,
}

impl Trace {
    /// Whether requests have ids, which are sent upstream and to the client.
    pub fn is_on(&self) -> bool {
        self.on.unwrap_or(false)
    }

    /// Whether responses have any of these headers.
    pub fn tells(&self) -> bool {
        self.is_on() || self.tells_time()
    }

    /// Whether responses have a header with the processing time.
    pub fn tells_time(&self) -> bool {
        self.process_time.unwrap_or(false)
    }
}

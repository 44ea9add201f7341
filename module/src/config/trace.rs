//! `openai_trace` and `openai_process_time_header`: ids and processing times of requests.

settings! {
    /// Settings of tracing at one level.
    pub struct Trace {}
    inherited {
        /// Whether requests have ids, which are sent upstream and to the client.
        is_on: bool = false,
        /// Whether responses have a header with the processing time.
        adds_time: bool = false,
    }
}

impl Trace {
    /// Whether responses have any of these headers.
    pub fn adds_headers(&self) -> bool {
        self.is_on() || self.adds_time()
    }
}

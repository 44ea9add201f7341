//! The response of an attempt.

/// State of the response of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerState {
    /// The request has not been sent.
    #[default]
    Unsent,
    /// The request has been sent; there is no response.
    Awaited,
    /// nginx has a response with this status: the upstream's, or a copy from its cache. nginx may
    /// send another one instead of the upstream's.
    Received(u16),
    /// nginx has a complete response that is not the upstream's. The status is that of the response
    /// received before, if there was one.
    Replaced(Option<u16>),
    /// The upstream's response, with this status, is being sent to the client.
    Sent(u16),
    /// The upstream has sent the whole response.
    Complete(u16),
    /// As `Complete`; the end of the body has been sent together with the last data.
    Joined(u16),
    /// The upstream has sent the whole response, but the client left before.
    Drained(u16),
}

impl AnswerState {
    /// The state when the response is complete. `drains` is whether the client has left before.
    #[must_use]
    pub const fn completed(self, drains: bool) -> Self {
        match self {
            Self::Unsent | Self::Awaited => Self::Replaced(None),
            Self::Received(status) => Self::Replaced(Some(status)),
            Self::Sent(status) if drains => Self::Drained(status),
            Self::Sent(status) => Self::Complete(status),
            _ => self,
        }
    }

    /// Whether the response is complete.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        use AnswerState::{Awaited, Received, Sent, Unsent};
        !matches!(self, Unsent | Awaited | Received(_) | Sent(_))
    }

    /// Status of the upstream's response, if it has been sent to the client.
    #[must_use]
    pub const fn sent(self) -> Option<u16> {
        use AnswerState::{Complete, Drained, Joined, Sent};
        match self {
            Sent(status) | Complete(status) | Joined(status) | Drained(status) => Some(status),
            _ => None,
        }
    }

    /// The status that counts as the upstream's. `answered` is the status that nginx has sent.
    /// `None` if nginx has failed.
    #[must_use]
    pub fn counted(self, answered: u16) -> Option<u16> {
        let received = match self {
            Self::Unsent | Self::Awaited => None,
            Self::Received(status) => Some(status),
            Self::Replaced(status) => status,
            _ => return self.sent(),
        };
        match (received, answered) {
            // An error that nginx has intercepted, or a copy from its cache.
            (Some(status), _) if status >= 400 || answered < 400 => received,
            // An intercepted error in nginx's cache, or a file that `try_files` has not found.
            (_, 400..=499) => Some(answered),
            _ => None,
        }
    }
}

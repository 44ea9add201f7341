//! The proposal of an attempt.

use std::sync::Arc;

use super::fence::Fence;
use super::lease::Nonce;
use super::slots::Candidates;

/// Maximum length of owner and request in listings, in bytes.
const MAX_TEXT: usize = 128;

/// The owner of a lock, for listings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    owner: Arc<str>,
    request: String,
    start_ms: u64,
}

impl Holder {
    /// The owner's name, the owner's identifier of the request, and the wall-clock time in
    /// milliseconds. Both texts may come from a client: control characters are removed, and long
    /// texts are truncated.
    #[must_use]
    pub fn new(owner: &str, request: &str, start_ms: u64) -> Self {
        Self {
            owner: printable(owner).into(),
            request: printable(request),
            start_ms,
        }
    }

    /// The same owner and request with another time.
    #[must_use]
    pub fn starting(&self, start_ms: u64) -> Self {
        Self {
            start_ms,
            ..self.clone()
        }
    }

    /// The value of the lock, see [`super::PoolNames::lock`].
    #[must_use]
    pub fn meta(&self, nonce: Nonce, fence: Fence) -> String {
        let Self {
            owner,
            request,
            start_ms,
        } = self;
        format!("{nonce}\n{fence}\n{start_ms}\n{owner}\n{request}")
    }
}

fn printable(text: &str) -> String {
    let mut kept = String::new();
    for char in text.chars().filter(|char| !char.is_control()) {
        if kept.len() + char.len_utf8() > MAX_TEXT {
            break;
        }
        kept.push(char);
    }
    kept
}

/// The proposal of an attempt; the same for all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The slots, in order.
    pub candidates: Candidates,
    /// New for every attempt, so that grants of an earlier attempt do not count.
    pub nonce: Nonce,
    /// TTL of the lock on the nodes, in milliseconds.
    pub ttl_ms: u64,
    /// New for every attempt.
    pub fence: Fence,
    /// The owner.
    pub holder: Holder,
    /// How long a node without a guard key must not grant locks, in milliseconds; at least the
    /// longest TTL of all clients.
    pub quarantine_ms: u64,
    /// Ends the quarantine of a node. Only for the first day of a group: when left on, the guard
    /// has no effect.
    pub bootstrap: bool,
}

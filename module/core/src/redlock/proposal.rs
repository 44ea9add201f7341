//! The proposal of an attempt.

use super::fence::Fence;
use super::lease::Nonce;
use super::slots::Candidates;

/// Maximum length of owner and request in listings, in bytes.
const MAX_TEXT: usize = 128;

/// The owner of a lock, for listings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    owner: String,
    request: String,
    start_ms: u64,
}

impl Holder {
    /// The owner's name, its identifier of the request, and the wall-clock time. Both texts may
    /// come from a client: control characters are removed, and long texts are cut.
    #[must_use]
    pub fn new(owner: &str, request: &str, start_ms: u64) -> Self {
        Self {
            owner: printable(owner),
            request: printable(request),
            start_ms,
        }
    }

    /// The owner's name.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The owner's identifier of the request.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.request
    }

    /// Start time, in milliseconds since the epoch.
    #[must_use]
    pub fn start_ms(&self) -> u64 {
        self.start_ms
    }

    pub(crate) fn meta(&self, nonce: Nonce, fence: Fence) -> String {
        let Self {
            owner,
            request,
            start_ms,
        } = self;
        format!("{nonce}\n{fence}\n{start_ms}\n{owner}\n{request}")
    }

    /// Parses the text that [`Holder::meta`] wrote for this nonce.
    pub(crate) fn from_meta(meta: &str, nonce: &str) -> Option<(Fence, Option<Self>)> {
        let mut parts = meta.splitn(5, '\n');
        if parts.next()? != nonce {
            return None;
        }
        let fence = Fence::new(parts.next()?.parse().ok()?)?;
        let (start, owner, request) = (parts.next()?, parts.next()?, parts.next()?);
        // A node on which a renewal has restored the lock lacks the rest.
        let holder = start
            .parse()
            .ok()
            .map(|start| Self::new(owner, request, start));
        Some((fence, holder))
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
    /// New for every attempt, so that remains of an earlier one do not count.
    pub nonce: Nonce,
    /// TTL of the lock on the nodes.
    pub ttl_ms: u64,
    /// New for every attempt.
    pub fence: Fence,
    /// The owner.
    pub holder: Holder,
    /// How long a node without a guard key must not grant locks; at least the longest TTL of all
    /// clients.
    pub quarantine_ms: u64,
    /// Ends the quarantine of a node. Only for the first day of a group: when left on, the guard
    /// has no effect.
    pub bootstrap: bool,
}

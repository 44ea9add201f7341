//! What one attempt proposes to every node.

use super::fence::Fence;
use super::lease::Nonce;
use super::slots::Candidates;

/// Longest owner and request that listings show, in bytes.
const MAX_TEXT: usize = 128;

/// Who asks, for listings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    owner: String,
    request: String,
    start_ms: u64,
}

impl Holder {
    /// The owner's name, its name for the request, and the wall clock. Control
    /// characters are left out and what is too long is cut: both may come from a
    /// client.
    #[must_use]
    pub fn new(owner: &str, request: &str, start_ms: u64) -> Self {
        Self {
            owner: printable(owner),
            request: printable(request),
            start_ms,
        }
    }

    /// Who asked.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The owner's name for the request.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.request
    }

    /// When, in milliseconds since the epoch.
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

    /// What [`Holder::meta`] wrote for this nonce, if it did.
    pub(crate) fn from_meta(meta: &str, nonce: &str) -> Option<(Fence, Option<Self>)> {
        let mut parts = meta.splitn(5, '\n');
        if parts.next()? != nonce {
            return None;
        }
        let fence = Fence::new(parts.next()?.parse().ok()?)?;
        let (start, owner, request) = (parts.next()?, parts.next()?, parts.next()?);
        // A node that a renewal put the lease back on does not know the rest.
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

/// What one attempt proposes to every node; the same to all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Which slots, in which order.
    pub candidates: Candidates,
    /// New for every attempt: what an earlier one left behind must not count.
    pub nonce: Nonce,
    /// How long a node keeps the lock.
    pub ttl_ms: u64,
    /// New for every attempt.
    pub fence: Fence,
    /// Who asks.
    pub holder: Holder,
    /// How long a node without a guard key must not grant: no less than the
    /// longest TTL of all clients.
    pub quarantine_ms: u64,
    /// Opens a node that is in quarantine. For the first day of a group only:
    /// left on, it takes the guard away.
    pub bootstrap: bool,
}

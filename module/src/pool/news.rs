//! What requests hear of their waits and leases.

use std::cell::Cell;

use nginx_safe::{Level, Token};
use openai_core::admin::lock_id;
use openai_core::lease::{Grant, LeaseHandle};
use serde_json::json;

use crate::telemetry::event;

/// What a request hears.
pub enum News {
    /// It waits no longer: it has been served with a slot. Its place among those of its
    /// priority is for when it has to wait again.
    Served { grant: Grant, arrival: u64 },
    /// The slot is locked on the nodes, so many of which have granted that. The lock was
    /// `asked` for under this name.
    Locked {
        asked: LeaseHandle,
        grant: Grant,
        votes: u8,
    },
    /// No quorum can be had: the slot is leased on this machine only.
    FallBack(Grant),
    /// The nodes are asked once more for the same slot.
    NextRound,
    /// The slot turned out to be held elsewhere.
    AskAgain,
    /// Too few nodes can be asked.
    Unavailable,
    /// The nodes have been asked to keep its lock for longer, and do until then; `None` if
    /// they do not.
    Prolonged(Option<u64>),
    /// The lease is lost.
    Lost(LeaseHandle),
}

/// Tells a request; `false` when it has no use for that any more, as when it is gone.
pub type Hear = fn(Token, News) -> bool;

thread_local! {
    static HEAR: Cell<Hear> = const { Cell::new(|_, _| false) };
}

/// Registers what tells requests.
pub fn on_news(hear: Hear) {
    HEAR.set(hear);
}

/// Tells a request.
pub(super) fn tell(token: Token, news: News) -> bool {
    HEAR.get()(token, news)
}

/// A lease is lost, of a request that may still be there.
pub(super) fn lost(token: Option<Token>, handle: LeaseHandle) {
    let is_told = token.is_some_and(|token| tell(token, News::Lost(handle)));
    if !is_told {
        let fields = json!({ "lock_id": lock_id(handle.nonce()) });
        event(Level::Error, "lease_lost", fields);
    }
}

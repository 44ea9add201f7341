//! The attempts that a request makes.

use std::rc::Rc;

use nginx_safe::Editor;
use openai_core::attempts::UpstreamErrors;
use openai_core::lease::Avoid;
use openai_wire::usage::UsageStripper;
use openai_wire::{EventEnd, Verdict};

use crate::config::PoolKey;
use crate::gateway::stream::usage::Meter;
use crate::pool::Lease;

/// The attempts that have been made, and what has failed.
#[derive(Default)]
pub struct Retries {
    /// How often the request has been sent.
    pub attempts: u32,
    /// How many of these do not count: they met a kept connection that the upstream had
    /// closed, or a key that is invalid or out of quota.
    pub uncounted: u32,
    /// When the first lease was asked for.
    pub first_asked_ms: u64,
    /// The keys that were of no use, and the targets: a bit for each.
    pub avoid: Avoid,
    pub failed: u64,
    /// The targets whose upstream has failed it too often in the same way.
    pub spent: u64,
    pub errors: UpstreamErrors,
    /// How long to pause before the next attempt.
    pub pause_ms: u64,
    /// What the last answer says.
    pub verdict: Option<Verdict>,
}

/// One attempt: from its lease to the end of its answer. A new one begins with a new lease.
#[derive(Default)]
pub struct Attempt {
    /// The lease, also once it has ended.
    pub lease: Option<Lease>,
    /// Its key.
    pub key: Option<Rc<PoolKey>>,
    /// Whether the lease is still ours to release.
    pub holds: bool,
    /// How long it was held.
    pub held_ms: u64,
    pub answer: Answer,
}

/// The upstream's answer.
#[derive(Default)]
pub struct Answer {
    /// Its status, once it goes to the client.
    pub status: Option<u16>,
    /// Where it is, if it is an event stream.
    pub events: Option<EventEnd>,
    /// Reads its usage.
    pub meter: Option<Meter>,
    /// Takes what the gateway has asked a stream for out of it.
    pub stripper: Option<UsageStripper>,
    /// What restores the name of an alias in it.
    pub editor: Option<Rc<Editor>>,
    /// Whether the upstream has given all of it.
    pub is_complete: bool,
    /// How many bytes more of it may be read, once its client is gone.
    pub draining: Option<u64>,
    /// Whether the client was gone before it was whole.
    pub is_left: bool,
    /// Whether the end of the body has gone with its last piece.
    pub is_joined: bool,
}

//! The scripts that nodes run.

macro_rules! with_waiters {
    ($file:literal) => {
        concat!(include_str!("scripts/waiters.lua"), include_str!($file))
    };
}

/// A script. Each is a pure function of its keys, its arguments and the node's
/// clock, and either does nothing or all of what it says: what a node may refuse
/// (out of memory, read-only) it refuses at the first write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Script {
    /// Takes the first free candidate.
    Acquire,
    /// Gives slots up.
    Release,
    /// Prolongs leases.
    Renew,
    /// Takes a place in the queue.
    Enqueue,
    /// Gives it up.
    Leave,
    /// Says whose turn it is.
    Head,
    /// Says what is held.
    List,
    /// Notes that a key is out.
    PutOut,
    /// Raises totals.
    Share,
    /// Tells those of other machines.
    Shared,
}

impl Script {
    /// All of them, to be loaded on connect.
    pub const ALL: [Self; 10] = [
        Self::Acquire,
        Self::Release,
        Self::Renew,
        Self::Enqueue,
        Self::Leave,
        Self::Head,
        Self::List,
        Self::PutOut,
        Self::Share,
        Self::Shared,
    ];

    /// Its text, for `SCRIPT LOAD` and `EVAL`.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::Acquire => include_str!("scripts/acquire.lua"),
            Self::Release => concat!(
                include_str!("scripts/release.lua"),
                // Only then, to make no closures in vain.
                include_str!("scripts/waiters.lua"),
                include_str!("scripts/wake.lua"),
            ),
            Self::Renew => include_str!("scripts/renew.lua"),
            Self::Enqueue => with_waiters!("scripts/enqueue.lua"),
            Self::Leave => include_str!("scripts/leave.lua"),
            Self::Head => with_waiters!("scripts/head.lua"),
            Self::List => include_str!("scripts/list.lua"),
            Self::PutOut => include_str!("scripts/put_out.lua"),
            Self::Share => include_str!("scripts/share.lua"),
            Self::Shared => include_str!("scripts/shared.lua"),
        }
    }
}
